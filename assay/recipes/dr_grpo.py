"""Dr. GRPO: GRPO without its two biases, the division by the deviation and by the length.

    A_i = r_i − mean(r)
    L   = (1/(#completions·L_max))·Σ_i Σ_t [−min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A) + β·k3]

GRPO divides a completion's loss by its own length, so that a long wrong completion is punished less
for each of its tokens, and wrong completions grow; it divides advantages by the group's deviation,
so that prompts that are nearly always or nearly never solved weigh more. Here a sum over tokens is
divided by one constant, and advantages are centred alone. The gradient is (K−1)/K of the true one
for K completions, over L_max; `leave_one_out` has the factor 1.

Aggregation: a sum over tokens, divided by `max_length`, a mean over completions. KL: k3 in the
loss, 0 by default, as in the paper's runs.

Where other code differs. TRL's `loss_type="dr_grpo"` changes the aggregation alone and keeps
dividing by the deviation unless `scale_rewards` is off. The paper's own code takes the generation
budget for L_max. The KL term is divided by it too, here and in TRL, and with Adam a constant factor
of the loss changes next to nothing, so that `max_length` matters where gradients are clipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_centred
from assay.formulas.reduce import constant_length
from assay.loops import clipped_surrogate, group_relative, require_group
from assay.stats.effects import Reading, final

paper = Paper(
    "Understanding R1-Zero-Like Training: A Critical Perspective",
    "Liu et al.",
    2025,
    "arXiv:2503.20783",
)
reduces = {
    "grpo": (
        {"max_length": 1},
        {"beta": 0.0, "standardise": False, "length_mean": False},
    )
}


def recipe(
    task: Task,
    *,
    max_length: int = 1024,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    beta: float = 0.0,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by Dr. GRPO and yield the policy after each step.

    Args:
        max_length: The constant L_max by which the sum over tokens is divided, at least 1.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        beta: Weight of k3 in the loss.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        return group_centred(require_group(reward), x.present)[..., None]

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    yield from group_relative(
        task,
        loop,
        surrogate,
        advantage=advantage,
        reduce=partial(constant_length, length=max_length),
        beta=beta,
        member=member,
        aggregate=aggregate,
    )


@Claim(
    "On arithmetic with scratch work Dr. GRPO writes shorter completions than GRPO at the end of "
    "the run, and is as often right.",
    arms={
        "mine": ("dr_grpo", {}),
        "grpo": ("grpo", {"beta": 0.0}),
        "divided": ("grpo", {"beta": 0.0, "standardise": False}),
    },
    worlds=("sums",),
    least={"shorter": 0.5, "as right": -0.02, "shorter than divided": 0.0},
    seeds="100..109",
    tuned={
        "mine": {"learning_rate": (1e-4, 3e-4, 1e-3)},
        "grpo": {"learning_rate": (1e-4, 3e-4, 1e-3)},
        "divided": "mine",
    },
    control=("shorter than divided",),
    broken="centred advantages, and each completion's loss is still divided by its own length",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean length of the last step's completions under GRPO minus Dr. GRPO's, in tokens; the
    difference in the share of right answers; and how much shorter than with the length alone left
    in.
    """
    length = {k: _length(arms[k]) for k in ("mine", "grpo", "divided")}
    return {
        "shorter": length["grpo"] - length["mine"],
        "as right": final(arms["mine"]) - final(arms["grpo"]),
        "shorter than divided": length["divided"] - length["mine"],
    }


def _length(readings: list[Reading]) -> float:
    known = [r["stats"]["completions/mean_length"] for r in readings if r["stats"]]
    return float(known[-1])
