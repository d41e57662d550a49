"""GRPO: group-standardised advantages, the clipped ratio, a mean over each answer's tokens, k3 in
the loss.

Against leave_one_out it changes four things, and each has its switch: the division by the group's
standard deviation (`standardise`), the group mean that contains the answer itself (`unbiased`), the
mean over an answer's tokens (`length_mean`), and the KL term (`beta`; k3 in the loss follows the
gradient of KL(π₀‖π), see divergence.k3).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_centred, group_standardised, leave_one_out
from assay.formulas.divergence import k3
from assay.formulas.reduce import per_answer, per_answer_token
from assay.formulas.surrogate import clipped
from assay.loops.online import judge, online, seen, siblings
from assay.stats.effects import Reading, drop

paper = Paper(
    "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
    "Shao et al.",
    2024,
    "arXiv:2402.03300",
)
reduces = {
    "leave_one_out": (
        {"standardise": False, "unbiased": True, "length_mean": False, "beta": 0.0},
        {},
    )
}


def recipe(
    task: Task,
    *,
    beta: float = 0.04,
    low: float = 0.2,
    high: float = 0.2,
    standardise: bool = True,
    unbiased: bool = False,
    length_mean: bool = True,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """beta: weight of k3; low, high: the ratio is clipped to [1−low, 1+high]; standardise,
    unbiased, length_mean: see above; member, aggregate: the proxy, one judge or all of them made
    one (`loops.judge`).
    """

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        reward = siblings(reward)
        if standardise:
            return group_standardised(reward, x.present, eps=1e-4, ddof=1)[..., None]
        return (leave_one_out if unbiased else group_centred)(reward, x.present)[..., None]

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        surrogate = clipped(logp, rows.logp, advantage, low=low, high=high)
        return surrogate + beta * k3(logp, seen(task.reference, rows).logp) if beta else surrogate

    yield from online(
        task,
        loop,
        score=judge(task, member, aggregate),
        advantage=advantage,
        loss=loss,
        reduce=per_answer_token if length_mean else per_answer,
    )


@Claim(
    "Against one learned proxy and without its KL term, GRPO's gold too rises and then falls below "
    "its peak.",
    arms={"grpo": ("grpo", {"beta": 0.0})},
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Drop of gold from its peak to the end of the run."""
    return drop(arms["grpo"])
