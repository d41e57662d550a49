"""The nouns. Axes: B prompts, N answers a prompt, T decisions an answer, M judges, K golds; nats
throughout.

What a recipe is given (`Task`) holds no gold; what holds gold (`World`) is never given to a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core.reward import Checked, Reward
from assay.core.rng import Rng
from assay.core.samples import Pairs, Prompts, Samples
from assay.engine.checkpoint import Carry
from assay.engine.optimiser import Optimiser
from assay.errors import InputError, Missing


@runtime_checkable
class Sampler(Protocol):
    """Draws answers. One that can say so also has `kl(reference, samples) → [B,N]` and `kl_kind`,
    see Policy.
    """

    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """n answers a prompt (`n` a number or `[B]`), from these addresses; `start`: answers to go
        on from.

        May carry `cost = {"generated": …, "scored": …}`: what one returned answer costs (1 and 0
        where it is absent).
        """
        ...


@runtime_checkable
class Policy(Sampler, Protocol):
    """A Sampler with probabilities and parameters. Temperature and truncation belong to it, in
    sample and logp alike.
    """

    kl_kind: str  # "exact" | "sampled" | "upper"

    def logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        """log π(action_t | what came before), differentiable, 0 where `samples.mask` is False."""
        ...

    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """KL(π‖reference) of the whole answer in nats, without gradient; its mean over own samples
        is the sequence KL.

        "sampled": the full distribution's KL summed over the answer's own decisions, hence never
        negative. "exact": the true value, the same for all of a prompt's answers.
        """
        ...

    def walk(self, prompts: Prompts, n: int, rng: Rng) -> Any:
        """Answers in the making: `dist() [B,N,V]`, `take(tokens)`, `give(tokens)`, `pick(index)`,
        `samples()`.
        """
        ...

    def scorer(self, k: int, rng: Rng) -> torch.nn.Module:
        """A fresh head of k outputs on a copy of the backbone: module(samples) → `[B,N,T+1,k]`,
        entry t before decision t.
        """
        ...

    def encode(self, prompts: list[str], texts: list[list[str]]) -> Samples:
        """People's text as Samples of this policy's vocabulary, every answer ended, `logp` NaN."""
        ...

    def copy(self) -> Policy:
        """A trainable copy. The reference itself does not require grad."""
        ...

    def parameters(self) -> Iterator[Tensor]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> Any: ...


@runtime_checkable
class PreferenceModel(Protocol):
    """P(a beats b) − ½, antisymmetric by law: f(a,b) = −f(b,a)ᵀ."""

    def __call__(self, a: Samples, b: Samples) -> Float[Tensor, "B Na Nb"]: ...


def _part(name: str, flag: str, what: str) -> property:
    def get(self: Task) -> Any:
        value = self._parts.get(name)
        if value is None:
            raise Missing(f"this world has no {what}; supply it with {flag}")
        return value

    return property(
        get, doc=f"The task's {what}; raises Missing, naming {flag}, where the world has none."
    )


class Task:
    """What a recipe is given. **No gold.** Parts that a world lacks raise Missing, with the flag
    that supplies them.
    """

    def __init__(
        self,
        *,
        prompts: Prompts,
        reference: Policy,
        rewards: Reward | None = None,
        pairs: Pairs | None = None,
        demos: Samples | None = None,
        preference: PreferenceModel | None = None,
        others: Mapping[str, Policy] | None = None,
        reply: Callable[..., Any] | None = None,
        rng: Rng | None = None,
        carry: Carry | None = None,
    ):
        self.prompts, self.reference = prompts, reference
        self.rng, self.carry = rng or Rng(0), carry or Carry()
        wrapped = rewards if rewards is None or isinstance(rewards, Checked) else Checked(rewards)
        self._parts = {
            "rewards": wrapped,
            "pairs": pairs,
            "demos": demos,
            "preference": preference,
            "others": others,
            "reply": reply,
        }

    rewards = _part("rewards", "--world.rewards", "proxy rewards")
    pairs = _part("pairs", "--world.pairs", "preference pairs")
    demos = _part("demos", "--world.demos", "demonstrations")
    preference = _part("preference", "--world.preference", "preference model")
    others = _part("others", "--world.others", "other named policies")
    reply = _part("reply", "--world.reply", "replies (its answers are of one turn)")

    def replaced(self, **parts: Any) -> Task:
        """This task with some parts exchanged: its rng and carry for a run, its rewards for a
        paper's own.
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
        """The prompts of step t: the task's prompts in a fresh order every epoch, never dropping a
        last partial batch.
        """
        return self.prompts[order(len(self.prompts), loop.batch_size, t, self.rng)]


def order(n: int, batch: int, t: int, rng: Rng) -> Int[Tensor, "batch"]:
    """Rows of step t when n rows are walked in batches, reshuffled every epoch; a function of (n,
    batch, t, rng) alone.
    """
    if n == 0:
        raise InputError("there is nothing to draw a batch from: 0 rows")
    places = torch.arange(t * batch, (t + 1) * batch)
    epochs, which = torch.unique(places // n, return_inverse=True)
    return torch.stack([rng("order", int(e)).permutation(n) for e in epochs])[which, places % n]


@dataclass
class World:
    """A task and its hidden gold. Named by worlds, measure, cli and interop only.

    `gold(samples) → [K,B,N]`, its names in `golds` (the first is *the* gold), its kind in
    `gold_kind` ("written", "exact", "verifier", "held-out model"; a held-out model is never called
    gold). `held_out`: prompts no recipe sees. `facts(policy) → {name: value}`: exact quantities
    where the world has them. `loop`: the optimiser's constants that fit this world's size, fixed by
    the baseline's behaviour alone. `refit(by) → Reward`: this world's judges fitted anew by
    `by(model, pairs, loop)`, with a fresh model of its kind, its own pairs and constants that suit
    the model, then brought to mean 0 and deviation 1 on the reference's answers as its own judges
    are. `population`: all the prompts there are, in a world where that can be said: the watch draws
    from it again and again, and elsewhere takes each held-out prompt once.
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


@dataclass(frozen=True)
class Loop:
    """The constants of optimisation, the same eight for every recipe.

    Attributes:
        max_steps: Steps of the recipe.
        batch_size: Prompts (or pairs) a step.
        num_generations: Completions a prompt.
        epochs: Passes over a step's batch.
        mini_batch_size: Prompts an update; 0 for the whole batch.
        learning_rate: Adam's, after warm-up.
        warmup_steps: Updates over which the learning rate rises linearly.
        seed: Of the run: with the world's arguments it determines every number.
    """

    max_steps: int = 100
    batch_size: int = 32
    num_generations: int = 8
    epochs: int = 1
    mini_batch_size: int = 0
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("max_steps", 0),
            ("batch_size", 1),
            ("num_generations", 1),
            ("epochs", 1),
            ("mini_batch_size", 0),
            ("warmup_steps", 0),
        ):
            if getattr(self, name) < least:
                raise InputError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least "
                    f"{least}"
                )
        if not self.learning_rate > 0:
            raise InputError(f"--learning-rate is {self.learning_rate}; it must be above 0")

    def optimiser(self, module: Any) -> Optimiser:
        """Adam over what requires grad, with linear warm-up; see optimiser.py."""
        return Optimiser(
            [p for p in module.parameters() if p.requires_grad],
            lr=self.learning_rate,
            warmup=self.warmup_steps,
        )

    def minibatches(self, n: int, rng: Rng) -> Iterator[Int[Tensor, "rows"]]:
        """`epochs` passes over n rows in random order, `mini_batch_size` rows at a time."""
        size = self.mini_batch_size or n
        for e in range(self.epochs):
            yield from rng("minibatch", e).permutation(n).split(size)


@dataclass(frozen=True)
class Step:
    """What a recipe yields: a policy to read (None: save and show, measure nothing), and the proxy
    it optimised.
    """

    policy: Sampler | None
    reward: Callable[[Samples], Tensor] | None = None  # [B,N]
    tag: str = ""
    stats: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """A recipe's request for gold labels of these answers: `labels = yield Ask(samples)` → `[B,N]`,
    each one counted.
    """

    samples: Samples


@dataclass(frozen=True)
class Paper:
    """A published system, its title letter for letter."""

    title: str
    authors: str
    year: int
    url: str


@dataclass
class Claim:
    """What a paper says, as an experiment: arms to run and one number a seed. The statistics are
    the same for all.

    `arms = {"mine": ("recipe", {arguments}), …}`. Decorates `effect(arms) → float`, given each
    arm's readings of one seed (a study's lines), positive where the paper is right; or `→ {part:
    float}`, judged part by part. An arm's arguments may also be fields of the Loop, the world's
    (`"world.noise": 0.1`), and a paper that fits the judges anew (`"fit": "bradley_terry",
    "fit.centre": 0.0`). `turns`: the arm that must visibly over-optimise first, or None where the
    statement does not need it. `on`: the arguments that it needs of a world, by the world's name.
    `least`: the smallest effect worth the name, in the effect's units; an interval wholly below it
    decides against the paper. None: a tenth of the fall of the arm that turns, or 0 where none
    does.
    """

    statement: str
    arms: dict[str, tuple[str, dict[str, Any]]]
    turns: str | None = None
    worlds: tuple[str, ...] = ("table", "grammar")
    on: dict[str, dict[str, Any]] = field(default_factory=dict)
    least: float | None = None
    effect: Callable[[dict[str, list[dict[str, Any]]]], float | dict[str, float]] | None = None

    def __call__(
        self, effect: Callable[[dict[str, list[dict[str, Any]]]], float | dict[str, float]]
    ) -> Claim:
        self.effect = effect
        return self
