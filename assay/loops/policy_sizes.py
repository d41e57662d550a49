"""Language models of several widths, each fine-tuned as its own reference, and runs on one set of
pairs that start from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from assay.core import InputError, Loop, Pairs, Policy, Prompts, Rng, Samples, Step
from assay.engine.parallel import meter
from assay.loops.language_models import trained
from assay.loops.pairs import log_ratios
from assay.models.backbones.llama import Llama
from assay.models.policies.causal import Causal


def resized(policy: Policy, width: int, rng: Rng) -> Causal:
    """Make an untrained policy like another one, of another width.

    Args:
        policy: A Llama with its vocabulary and sampling parameters.
        width: Of the new one; its layers and heads are as many, its MLPs 8/3 times as wide.
        rng: Address of the first weights.

    Raises:
        InputError: The policy is no small Llama, or a head would have an odd number of units.
    """
    if not isinstance(policy, Causal) or not isinstance(policy.backbone, Llama):
        raise InputError(
            "policies of several sizes are made from a small Llama; use --world grammar"
        )
    config = policy.backbone.config
    if width < 1 or width % (2 * config.heads):
        raise InputError(
            f"--widths has {width}; with {config.heads} heads a width is a multiple of "
            f"{2 * config.heads}"
        )
    return Causal(
        Llama(replace(config, width=width, inner=8 * width // 3), rng),
        policy.vocabulary,
        temperature=policy.temperature,
        top_k=policy.top_k,
        top_p=policy.top_p,
        max_tokens=policy.max_tokens,
        min_tokens=policy.min_tokens,
    )


def fine_tuned(policy: Causal, demos: Samples, loop: Loop, rng: Rng) -> Causal:
    """Train a policy on demonstrations, in place, and return it frozen: a reference."""
    for _ in trained(policy, demos, loop, rng, [loop.max_steps]):
        pass
    return policy.frozen()


@torch.no_grad()
def accuracy(policy: Policy, reference: Policy, pairs: Pairs) -> float:
    """Share of pairs whose chosen completion has the larger log π/π₀; a tie counts a half."""
    with meter.lifted():
        chosen, rejected = log_ratios(policy.logp(pairs), reference.logp(pairs))
    return float((torch.sign(chosen - rejected) + 1).mean() / 2)


@dataclass(frozen=True)
class Look:
    """How the policies of a run are read; every run is read at the same addresses.

    Attributes:
        prompts: Held-out prompts.
        gold: Scores of completions `[K, B, N]`; the first counts.
        n: Completions a prompt.
        rng: Address of the completions.
    """

    prompts: Prompts
    gold: Callable[[Samples], Tensor]
    n: int
    rng: Rng

    @torch.no_grad()
    def __call__(self, policy: Any, reference: Any, step: int) -> dict[str, Any]:
        """One reading: step, KL from the reference in nats, and gold."""
        with meter.lifted():
            x = policy.sample(self.prompts, self.n, self.rng)
            kl, gold = policy.kl(reference, x), self.gold(x)[0]
        found = {"kl": float(kl.mean()), "gold": float(gold.mean())}
        return {"step": step, "tag": "", **found}


def places(steps: int, reads: int) -> list[int]:
    """The steps of a run at which it is read: closer together where it begins, up to its last.

    Example:
        >>> places(60, 8)
        [3, 8, 14, 21, 30, 39, 49, 60]
    """
    return sorted({max(1, round(steps * (i / reads) ** 1.5)) for i in range(1, reads + 1)})


def curve(
    steps: Iterable[Step], reference: Policy, look: Look, at: list[int]
) -> tuple[Any, list[dict[str, Any]]]:
    """Follow a run to its end and read it.

    Args:
        steps: What a recipe yields.
        reference: Where the run starts.
        look: How it is read.
        at: After which steps.

    Returns:
        The last policy, and the readings.
    """
    last, found = reference, list[dict[str, Any]]()
    for t, step in enumerate(steps, 1):
        last = step.policy  # type: ignore[assignment]
        if t in at:
            found.append(look(last, reference, t))
    return last, found
