"""Policies that are trained on the mean of one ensemble of each kind, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from assay.core import Loop, Reward, Samples, World
from assay.engine.checkpoint import Carry
from assay.formulas.aggregate import mean
from assay.loops.online import online
from assay.rewards.attributes import attributes
from assay.rewards.seed_grid import Kinds


def reinforced(
    world: World, members: Reward, kinds: Kinds, steps: int, feature: str
) -> Iterator[dict[str, Any]]:
    """Yield lines of kind "rl": a policy trained on the mean of the first ensemble of each kind.

    Args:
        world: Its reference is where they start.
        members: All reward models.
        kinds: The ensembles of each kind, by the places of their members.
        steps: Of REINFORCE; four of them are read.
        feature: Of `attributes`.
    """
    several: Any = members
    for kind, ensembles in kinds.items():
        proxy = several.only(ensembles[0])
        task = world.task.replaced(carry=Carry(), rng=world.task.rng("pretrain ensemble")("rl"))
        loop = replace(world.loop or Loop(), max_steps=steps)

        def score(x: Samples, proxy: Any = proxy) -> Tensor:
            return mean(proxy(x))

        for t, step in enumerate(online(task, loop, score=score), 1):
            if t % max(1, steps // 4) and t < steps:
                continue
            policy: Any = step.policy
            x = policy.sample(world.held_out, 4, world.task.rng("rl reading"))
            yield {
                "kind": "rl",
                "ensemble": kind,
                "step": t,
                "kl": float(policy.kl(world.task.reference, x).mean()),
                "gold": None if world.gold is None else float(world.gold(x)[0].mean()),
                "count": float(attributes(x, feature).mean()),
            }
