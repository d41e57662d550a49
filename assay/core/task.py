"""Task, all that a recipe is given; World, a task and its hidden gold.

What a recipe is given holds no gold; what holds gold is never given to a recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core.loop import Loop
from assay.core.policy import Policy, Sampler
from assay.core.preference import CheckedPreference, PreferenceModel
from assay.core.reward import Checked, Reward
from assay.core.rng import Rng
from assay.core.samples import DESIRABLE, Pairs, Prompts, Samples
from assay.engine.checkpoint import Carry
from assay.errors import InputError, Missing

log = logging.getLogger("assay")


def _part(name: str, flag: str, what: str) -> property:
    def get(self: Task) -> Any:
        value = self._parts.get(name)
        if value is None:
            raise Missing(f"this world has no {what}; pass {flag}")
        return value

    return property(get, doc=f"The task's {what}; Missing names {flag} where the world has none.")


class Task:
    """What a recipe is given. **No gold.**

    A part that the world lacks raises Missing, with the flag that supplies it.

    Attributes:
        prompts: What the policy is trained on.
        reference: The policy to start from; it does not require a gradient.
        rewards: Proxy rewards, each call counted.
        pairs: Labelled preference pairs.
        demos: Demonstrations, without the completions that are labelled undesirable.
        labelled: All completions of a file whose rows are labelled desirable or not.
        preference: A preference model, each comparison counted.
        others: Named frozen policies besides the reference.
        reply: The world's turn in a conversation.
        rng: The run's random addresses.
        carry: The run's memory between steps.
    """

    def __init__(
        self,
        *,
        prompts: Prompts,
        reference: Policy,
        rewards: Reward | None = None,
        pairs: Pairs | None = None,
        demos: Samples | None = None,
        unlabelled: str = "",
        preference: PreferenceModel | None = None,
        others: Mapping[str, Policy] | None = None,
        reply: Callable[..., Any] | None = None,
        rng: Rng | None = None,
        carry: Carry | None = None,
    ):
        self.prompts, self.reference = prompts, reference
        self.rng, self.carry = rng or Rng(0), carry or Carry()
        wrapped = rewards if rewards is None or isinstance(rewards, Checked) else Checked(rewards)
        compares = preference
        if compares is not None and not isinstance(compares, CheckedPreference):
            compares = CheckedPreference(compares)
        self._parts: dict[str, Any] = {
            "rewards": wrapped,
            "pairs": pairs,
            "demos": demos,
            "unlabelled": unlabelled,
            "preference": compares,
            "others": others,
            "reply": reply,
        }

    rewards = _part("rewards", "--rewards", "proxy rewards")
    pairs = _part("pairs", "--pairs", "preference pairs")
    preference = _part("preference", "--preference", "preference model")
    others = _part("others", "--others", "other named policies")
    reply = _part("reply", "--world.reply", "replies (its completions have one turn)")

    @property
    def demos(self) -> Samples:
        """The task's demonstrations. Completions that are labelled undesirable are no examples to
        imitate: they are left out, and counted in a warning.

        Raises:
            Missing: There are none.
            InputError: All are labelled undesirable.
        """
        x = self._stored("demonstrations")
        if not self.is_labelled:
            return x
        keep = x.extra[DESIRABLE][:, 0] > 0.5
        if not bool(keep.any()):
            raise InputError(
                f"all {len(x)} completions of --demos are labelled undesirable, and there is "
                "nothing to imitate; give desirable ones"
            )
        if not bool(keep.all()):
            line = (
                f"of {len(x)} demonstrations, left out: {int((~keep).sum())} that are labelled "
                "undesirable; recipe kto learns from both kinds"
            )
            log.warning(line, extra={"once": line})
        rest = {k: v for k, v in x.extra.items() if k != DESIRABLE}
        return replace(x, extra=rest)[keep]

    @property
    def labelled(self) -> Samples:
        """Completions with the probability that each is desirable in `extra[DESIRABLE]`.

        Raises:
            Missing: There are no demonstrations.
            InputError: They are not labelled, or all alike.
        """
        x = self._stored("labelled completions")
        why: str = self._parts["unlabelled"]
        if why or not self.is_labelled:
            raise InputError(
                why or "the demonstrations of this world are not labelled desirable or undesirable"
            )
        return x

    @property
    def is_labelled(self) -> bool:
        """Whether its demonstrations are labelled desirable or not."""
        x = self._parts["demos"]
        return isinstance(x, Samples) and DESIRABLE in x.extra

    def _stored(self, what: str) -> Samples:
        x: Samples | None = self._parts["demos"]
        if x is None:
            raise Missing(f"this world has no {what}; pass --demos")
        return x

    def replaced(self, **parts: Any) -> Task:
        """Return this task with some parts exchanged: its rng and carry for a run, its rewards for
        a paper's own.
        """
        mine = {
            "prompts": self.prompts,
            "reference": self.reference,
            "rng": self.rng,
            "carry": self.carry,
            **self._parts,
        }
        return Task(**{**mine, **parts})

    def batch(self, loop: Loop, t: int) -> Prompts:
        """Return the prompts of step t: all prompts in a fresh order every epoch, the last partial
        batch included.
        """
        return self.prompts[order(len(self.prompts), loop.batch_size, t, self.rng)]

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt that a step may hold, pairs and demonstrations included."""
        stored = (self._parts["pairs"], self._parts["demos"])
        held = [x.prompts for x in stored if isinstance(x, Samples)]
        return max(
            (int(p.mask.sum(-1).max()) for p in (self.prompts, *held) if len(p)),
            default=0,
        )


def order(n: int, batch: int, t: int, rng: Rng) -> Int[Tensor, "batch"]:
    """Return the rows of step t when n rows are walked in batches, reshuffled every epoch.

    Args:
        n: Rows there are.
        batch: Rows a step.
        t: The step, from 0.
        rng: The order's address; the result is a function of the four alone.

    Raises:
        InputError: There are no rows.
    """
    if n == 0:
        raise InputError("there is nothing to draw a batch from: 0 rows")
    places = torch.arange(t * batch, (t + 1) * batch)
    epochs, which = torch.unique(places // n, return_inverse=True)
    return torch.stack([rng("order", int(e)).permutation(n) for e in epochs])[which, places % n]


@dataclass
class World:
    """A task and its hidden gold. Never given to a recipe.

    Attributes:
        name: The world's.
        task: What a recipe is given.
        held_out: Prompts that no recipe sees.
        gold: samples → `[K,B,N]`; None where nothing true is known.
        golds: The names of the K golds; the first is *the* gold.
        gold_kind: "written", "exact", "verifier" or "held-out model"; a held-out model is never
            called gold.
        facts: policy → {name: value}: exact quantities where the world has them.
        loop: The optimiser's constants that fit this world's size, fixed by the baseline's
            behaviour alone.
        refit: Fits this world's rewards anew by `by(model, pairs, loop)`, with a fresh model of its
            kind and its own pairs, and brings them to mean 0 and deviation 1 on the reference's
            completions, as its own rewards are.
        arguments: What the world was built with.
        population: All the prompts there are, where that can be said: the watch draws from it again
            and again, and elsewhere takes each held-out prompt once.
        digest: SHA-256 of the parts that were trained for it; "" where nothing was.
    """

    name: str
    task: Task
    held_out: Prompts
    gold: Callable[[Samples], Tensor] | None = None
    golds: tuple[str, ...] = ("gold",)
    gold_kind: str = "written"
    facts: Callable[[Sampler], dict[str, float]] | None = None
    loop: Loop | None = None
    refit: Callable[[Callable[..., Reward]], Reward] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    population: Prompts | None = None
    digest: str = ""
