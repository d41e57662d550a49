"""CISPO: clip the importance weight and keep every token's gradient.

    L = mean over tokens of −sg(clip(ρ, 1−ε_low, 1+ε_high))·A·log π + β·k3

A is GRPO's, standardised in the group. A token that PPO's clip would silence, such as a rare one
that the first updates made likely, keeps its gradient with a bounded weight. Against `dapo` it
changes that alone: the aggregation is a mean over all tokens of the batch. At ρ = 1 the gradient is
the policy gradient. KL: k3 in the loss, 0 by default.

The paper has no lower bound (`epsilon_low` 1) and tunes the upper one without saying it; TRL's
`epsilon_high` of this loss is the bound itself, 5 there is 4 here.

Trap: with a negative advantage and a ratio far above 1 PPO has no bound either, and here the weight
stops at 1 + ε_high. With a positive one the gradient never ends, so nothing stops a policy that
runs away in many updates a batch."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.reduce import per_token
from assay.formulas.sequence_ratio import clipped_weight
from assay.loops import group_relative
from assay.stats.effects import Reading, final

paper = Paper(
    "MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention",
    "MiniMax",
    2025,
    "arXiv:2506.13585",
)
reduces = {"dapo": ({}, {"max_batches": 1})}


def recipe(
    task: Task,
    *,
    epsilon_low: float = 1.0,
    epsilon_high: float = 4.0,
    beta: float = 0.0,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=4),
) -> Iterator[Step]:
    """Train by CISPO and yield the policy after each step.

    Args:
        epsilon_low: A token's weight is at least 1 − epsilon_low.
        epsilon_high: A token's weight is at most 1 + epsilon_high.
        beta: Weight of k3 in the loss.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_weight(logp, rows.logp, advantage, low=epsilon_low, high=epsilon_high)

    yield from group_relative(
        task,
        loop,
        surrogate,
        reduce=per_token,
        beta=beta,
        member=member,
        aggregate=aggregate,
    )


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
STALE = {"epochs": 2, "mini_batch_size": 4, "max_steps": 8}
RATES = {"learning_rate": (2.5e-4, 5e-4, 1e-3, 2e-3)}


@Claim(
    "With eight updates a batch CISPO ends at more right answers than GRPO, both at their best "
    "rate.",
    arms={
        "mine": ("cispo", STALE),
        "grpo": ("grpo", {"beta": 0.0, **STALE}),
        "wide": ("grpo", {"beta": 0.0, "epsilon_low": 1.0, "epsilon_high": 4.0, **STALE}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={"over grpo": 0.02, "over wide": 0.0},
    seeds="200..211",
    tuned={
        "mine": RATES,
        "grpo": RATES,
        "wide": "mine",
    },
    control=("over wide",),
    broken="the same bounds as a clip: a token beyond them loses its gradient",
    differs={"seconds": "runs of one length on a busy machine"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers after eight steps of eight updates, minus GRPO's at its own best
    rate, and minus that of GRPO with the bounds of CISPO, at CISPO's rate, where a token beyond
    them is silent.
    """
    mine = final(arms["mine"])
    return {f"over {name}": mine - final(arms[name]) for name in ("grpo", "wide")}
