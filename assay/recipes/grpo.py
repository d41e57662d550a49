"""GRPO: group-standardised advantages, clipped ratios, a mean over tokens, k3 in the loss.

    A_i = (r_i − mean(r)) / (std(r) + 10⁻⁴)
    L   = mean over completions of mean over tokens of
          −min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A) + β·k3

Against leave_one_out it changes four things, and each has its switch: the division by the group's
standard deviation (`standardise`), the group mean that contains the completion itself (`unbiased`),
the mean over a completion's tokens (`length_mean`), and the KL term (`beta`). k3 in the loss
follows the gradient of KL(π₀‖π), see `formulas.divergence.k3`.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_centred, leave_one_out
from assay.formulas.reduce import per_completion, per_completion_token
from assay.loops import clipped_surrogate, group_relative, require_group, standardised
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
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    standardise: bool = True,
    unbiased: bool = False,
    length_mean: bool = True,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by GRPO and yield the policy after each step.

    Args:
        beta: Weight of k3 in the loss.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        standardise: Divide advantages by the group's standard deviation.
        unbiased: Use the leave-one-out mean as the baseline; only without `standardise`.
        length_mean: Average the loss over a completion's tokens instead of summing it.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        if standardise:
            return standardised(reward, x)
        centre = leave_one_out if unbiased else group_centred
        return centre(require_group(reward), x.present)[..., None]

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    yield from group_relative(
        task,
        loop,
        surrogate,
        advantage=advantage,
        reduce=per_completion_token if length_mean else per_completion,
        beta=beta,
        member=member,
        aggregate=aggregate,
    )


@Claim(
    "Against one learned proxy and without its KL term, GRPO's gold too rises and then falls below "
    "its peak.",
    arms={
        "grpo": ("grpo", {"beta": 0.0}),
        "sound": (
            "grpo",
            {
                "beta": 0.0,
                "world.mode": "idiosyncratic",
                "world.pairs": 8000,
                "world.noise": 0.0,
            },
        ),
    },
    worlds=("table",),
    least={"falls": 0.5, "over sound": 0.0},
    seeds="100..139",
    control=("over sound",),
    broken="a proxy fitted on 8,000 clean pairs where only a lack of data can mislead it",
    differs={"pairs": "a sound reward model takes 8,000 clean pairs"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Drop of gold from its peak (read again at fresh addresses) to the end of the run, and how
    much more that is than against a sound proxy. Gold's unit is its deviation under the reference.
    """
    falls = drop(arms["grpo"])
    return {"falls": falls, "over sound": falls - drop(arms["sound"])}
