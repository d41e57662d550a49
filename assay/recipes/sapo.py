"""SAPO: a smooth gate in place of the clip, steeper where the advantage is negative.

    L = mean over completions of mean over tokens of −(4/τ)·σ(τ·(ρ−1))·A + β·k3,  τ by the sign of A

A is GRPO's, standardised in the group. Against `grpo` it changes the surrogate alone. The gradient
is the policy gradient's times ρ·4σ(1−σ): 1 at ρ = 1, and it falls on both sides of it, also where
PPO's clip is one-sided and keeps all: a token of positive advantage whose ratio is already small.
As τ → 0 the gate is open, and it is `grpo` without a clip.

Aggregation: a mean over tokens, then over completions. KL: k3 in the loss, 0 by default."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.sequence_ratio import soft_gate
from assay.loops import group_relative
from assay.stats.effects import Reading, final

paper = Paper(
    "Soft Adaptive Policy Optimization",
    "Gao et al.",
    2025,
    "arXiv:2511.20347",
)
reduces = {
    "grpo": (
        {"tau_positive": 1e-3, "tau_negative": 1e-3},
        {"beta": 0.0, "epsilon_low": 1.0, "epsilon_high": 1e9},
    )
}


def recipe(
    task: Task,
    *,
    tau_positive: float = 1.0,
    tau_negative: float = 1.05,
    beta: float = 0.0,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=4),
) -> Iterator[Step]:
    """Train by SAPO and yield the policy after each step.

    Args:
        tau_positive: Temperature τ of the gate where the advantage is positive; larger is narrower.
        tau_negative: Temperature τ of the gate where it is not.
        beta: Weight of k3 in the loss.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return soft_gate(logp, rows.logp, advantage, positive=tau_positive, negative=tau_negative)

    yield from group_relative(task, loop, surrogate, beta=beta, member=member, aggregate=aggregate)


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
STALE = {"epochs": 2, "mini_batch_size": 4, "max_steps": 8}
RATES = {"learning_rate": (2.5e-4, 5e-4, 1e-3, 2e-3)}


@Claim(
    "With eight updates a batch SAPO ends at more right answers than GRPO, both at their best "
    "rate.",
    arms={
        "mine": ("sapo", STALE),
        "grpo": ("grpo", {"beta": 0.0, **STALE}),
        "open": ("sapo", {"tau_positive": 1e-6, "tau_negative": 1e-6, **STALE}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={"over grpo": 0.02, "over open": 0.0},
    seeds="200..211",
    tuned={
        "mine": RATES,
        "grpo": RATES,
        "open": "mine",
    },
    control=("over open",),
    broken="the gate stands open: the surrogate without a bound",
    differs={"seconds": "runs of one length on a busy machine"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers after eight steps of eight updates, minus GRPO's at its own best
    rate, and minus the same loss's with the bound taken away.
    """
    mine = final(arms["mine"])
    return {f"over {name}": mine - final(arms[name]) for name in ("grpo", "open")}
