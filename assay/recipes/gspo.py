"""GSPO: the trust region and the ratio are the sequence's, not the token's.

    s_i = (π(y_i)/π_old(y_i))^{1/|y_i|}
    L   = mean over completions of −min(s_i·A_i, clip(s_i, 1−ε_low, 1+ε_high)·A_i) + β·k3

A_i is GRPO's, standardised in the group. Against `grpo` it changes the ratio alone: the geometric
mean of the token ratios stands in for each of them, and a completion is clipped whole. With one
update a batch s = 1 and it is `grpo`. The ratio is one of a decision on average, so that ε is two
orders smaller than a token's; with ε of 0.2 nothing is ever clipped.

`token` sends the gradient through each decision's own log-probability (GSPO-token). With one
advantage a completion it is the same gradient, and it is there for advantages of decisions.

Aggregation: one term a completion, a mean over completions. KL: k3 in the loss, 0 by default.

Where the released code differs: TRL and verl average the loss over tokens as GRPO does, which is
the same number here; with TRL's `loss_type="dapo"` (its default) long completions weigh more.

Here (a sound proxy, 16 updates a batch): .41 above GRPO, and .74 below itself without a clip.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.sequence_ratio import sequence_clipped
from assay.loops import group_relative
from assay.stats.effects import Reading, average

paper = Paper(
    "Group Sequence Policy Optimization",
    "Zheng et al.",
    2025,
    "arXiv:2507.18071",
)
reduces = {"grpo": ({"epsilon_low": 1.0, "epsilon_high": 1e9}, {"beta": 0.0})}


def recipe(
    task: Task,
    *,
    epsilon_low: float = 3e-4,
    epsilon_high: float = 4e-4,
    token: bool = False,
    beta: float = 0.0,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=4),
) -> Iterator[Step]:
    """Train by GSPO and yield the policy after each step.

    Args:
        epsilon_low: The sequence's ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The sequence's ratio is clipped above at 1 + epsilon_high.
        token: Use the form whose gradient goes through each token (GSPO-token).
        beta: Weight of k3 in the loss.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return sequence_clipped(
            logp, rows.logp, advantage, rows.mask, low=epsilon_low, high=epsilon_high, token=token
        )

    yield from group_relative(task, loop, surrogate, beta=beta, member=member, aggregate=aggregate)


CLEAN = {"world.mode": "idiosyncratic", "world.pairs": 8000, "world.noise": 0.0}
STALE = {**CLEAN, "epochs": 4, "mini_batch_size": 4, "max_steps": 20}


@Claim(
    "With 16 updates a batch and a sound proxy, GSPO learns faster than GRPO, both at their "
    "best rate.",
    arms={
        "mine": ("gspo", STALE),
        "grpo": ("grpo", {"beta": 0.0, **STALE}),
        "open": ("gspo", {"epsilon_low": 1.0, "epsilon_high": 1e9, **STALE}),
    },
    worlds=("table",),
    least={"over grpo": 0.1, "over open": 0.0},
    seeds="100..119",
    tuned={
        "mine": {"learning_rate": (0.04, 0.08, 0.16, 0.32, 0.64)},
        "grpo": {"learning_rate": (0.04, 0.08, 0.16, 0.32, 0.64)},
        "open": "mine",
    },
    by=average,
    control=("over open",),
    broken="the same sequence ratio, and nothing is clipped",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold over the readings of 20 steps of 16 updates, minus GRPO's at its own best rate, and
    minus the same loss's with the bound taken away. Gold's unit is its deviation under the
    reference, and the proxy is fitted on clean pairs.
    """
    mine = average(arms["mine"])
    return {f"over {name}": mine - average(arms[name]) for name in ("grpo", "open")}
