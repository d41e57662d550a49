"""Policies that are trained on the mean of one ensemble of each kind, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from assay.core import Loop, Prompts, Reward, Samples, Task
from assay.engine.checkpoint import Carry
from assay.formulas.aggregate import mean
from assay.loops.online import online
from assay.rewards.attributes import attributes
from assay.rewards.seed_grid import Kinds


def reinforced(
    task: Task,
    loop: Loop,
    held_out: Prompts,
    kinds: Kinds,
    *,
    members: Reward,
    feature: str,
    read: Callable[[Samples], Tensor] | None,
) -> Iterator[dict[str, Any]]:
    """Yield lines of kind "rl": a policy trained on the mean of the first ensemble of each kind.

    Args:
        task: Its reference is where they start.
        loop: Of REINFORCE; four of its steps are read.
        held_out: The prompts of the readings.
        kinds: The ensembles of each kind, by the places of their members.
        members: All reward models.
        feature: Of `attributes`.
        read: What the lines call gold, `[M,B,N]`, the first of M; None for none.
    """
    several: Any = members
    own, steps = task.rng("pretrain ensemble")("rl"), loop.max_steps
    for kind, ensembles in kinds.items():
        proxy = several.only(ensembles[0])
        fresh = task.replaced(carry=Carry(), rng=own)

        def score(x: Samples, proxy: Any = proxy) -> Tensor:
            return mean(proxy(x))

        for t, step in enumerate(online(fresh, loop, score=score), 1):
            if t % max(1, steps // 4) and t < steps:
                continue
            policy: Any = step.policy
            x = policy.sample(held_out, 4, task.rng("rl reading"))
            yield {
                "kind": "rl",
                "ensemble": kind,
                "step": t,
                "kl": float(policy.kl(task.reference, x).mean()),
                "gold": None if read is None else float(read(x)[0].mean()),
                "count": float(attributes(x, feature).mean()),
            }
