"""A KL price in the reward: r − β·Σ_t log(π/π₀), subtracted before the baseline. Differs from
leave_one_out in one line.

k1, detached and summed over the answer, is the estimator whose score-function gradient is
∇KL(π‖π₀).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.divergence import k1
from assay.loops.online import judge, online, relative
from assay.stats.effects import Reading, final

paper = Paper(
    "Fine-Tuning Language Models from Human Preferences", "Ziegler et al.", 2019, "arXiv:1909.08593"
)
reduces = {"leave_one_out": ({"beta": 0.0}, {})}


def recipe(
    task: Task, *, beta: float = 0.1, member: int = 0, aggregate: str = "", loop: Loop = Loop()
) -> Iterator[Step]:
    """beta: price of a nat, in units of the proxy; member: which judge is the proxy;
    aggregate: or all of them, see `loops.judge`."""

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        with torch.no_grad():
            paid = beta * k1(x.logp, task.reference.logp(x)).sum(-1)  # new in this paper
        return relative(reward - paid.to(reward.dtype), x)

    yield from online(task, loop, score=judge(task, member, aggregate), advantage=advantage)


@Claim(
    "With a KL price in the reward, gold at the end of the run is above that of the same run "
    "without one.",
    arms={"mine": ("kl_in_reward", {"beta": 0.6}), "single": ("leave_one_out", {})},
    turns="single",
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Final gold with the price minus final gold without, at the price that ends highest on
    `table`'s seeds 0 to 4.
    """
    return final(arms["mine"]) - final(arms["single"])
