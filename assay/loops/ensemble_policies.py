"""Policies that are trained on the mean of one ensemble of each kind, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
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
    generations: int = 8,
) -> Iterator[dict[str, Any]]:
    """Yield lines of kind "rl": a policy trained on the mean of the first ensemble of each kind.

    All policies have the same loop, prompts and random numbers, and the first ensembles share their
    first member (but for `unpretrained`): kinds differ in the other members alone. Gold is read at
    its KL, since kinds whose members agree move a policy further in as many steps. There is no
    price on KL: a mean of models that disagree has smaller scores, and one price would be dearer to
    it; Adam ignores the scale.

    Args:
        task: Its reference is where they start.
        loop: Of REINFORCE; the reference and four of its steps are read.
        held_out: The prompts of the readings.
        kinds: The ensembles of each kind, by the places of their members.
        members: All reward models.
        feature: Of `attributes`.
        read: What the lines call gold, `[M,B,N]`, the first of M; None for none.
        generations: Completions of a prompt in a reading.
    """
    several: Any = members
    own, reading = task.rng("pretrain ensemble")("rl"), task.rng("rl reading")
    steps = loop.max_steps

    def line(kind: str, step: int, policy: Any) -> dict[str, Any]:
        with torch.no_grad():
            x = policy.sample(held_out, generations, reading)
            return {
                "kind": "rl",
                "ensemble": kind,
                "step": step,
                "kl": float(policy.kl(task.reference, x).mean()),
                "gold": None if read is None else float(read(x)[0].mean()),
                "count": float(attributes(x, feature).mean()),
            }

    start = line("", 0, task.reference)
    for kind, ensembles in kinds.items():
        proxy = several.only(ensembles[0])
        fresh = task.replaced(carry=Carry(), rng=own)

        def score(x: Samples, proxy: Any = proxy) -> Tensor:
            return mean(proxy(x))

        yield {**start, "ensemble": kind}
        for t, step in enumerate(online(fresh, loop, score=score), 1):
            if t % max(1, steps // 4) == 0 or t == steps:
                yield line(kind, t, step.policy)
