"""REINFORCE++: advantages normalised over the whole batch, without a critic.

    A_t = r − β·Σ_{s≥t} log(π/π₀)_s,  then (A − mean)/std over all tokens of the batch
    L   = mean over tokens of −min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A)

With `baseline` (the paper's REINFORCE++-Baseline) the reward is first centred in the prompt's
group, and the KL stands in the loss instead, as k2:

    A_i = r_i − mean(r),  then (A − mean)/std over all tokens of the batch
    L   = … + β·½(log π/π₀)²

Against `grpo` it divides by one deviation for the batch, where GRPO divides by each group's, so
that a prompt that is nearly always solved has small advantages and not large ones. Without
`baseline` one completion a prompt is enough, and prompts are compared with one another: an easy
prompt's wrong completion may have a positive advantage.

Aggregation: a mean over all tokens of the batch. The deviation divides by the count (÷ n).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_centred, returns_to_go, whiten
from assay.formulas.divergence import k2
from assay.formulas.reduce import per_token
from assay.loops import (
    at_the_end,
    clipped_surrogate,
    online,
    proxy_score,
    record_kl,
    reference_logp,
    require_group,
    with_reference_logp,
)
from assay.stats.effects import Reading, average

paper = Paper(
    "REINFORCE++: Stabilizing Critic-Free Policy Optimization with Global Advantage Normalization",
    "Hu et al.",
    2025,
    "arXiv:2501.03262",
)
reduces = {}


def recipe(
    task: Task,
    *,
    baseline: bool = False,
    beta: float = 0.01,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train by REINFORCE++ and yield the policy after each step.

    Args:
        baseline: Centre rewards in each prompt's group first, and put the KL in the loss.
        beta: Weight of the KL: of k1 in the reward, or of k2 in the loss with `baseline`.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        if baseline:
            centred = group_centred(require_group(reward), x.present)
            return whiten(centred[..., None].expand_as(x.logp), x.mask)
        paid = at_the_end(reward, x)
        if beta:
            reference = reference_logp(task.reference, x)
            record_kl(x.logp, reference, x.mask)
            paid = paid - beta * (x.logp - reference).to(paid.dtype)
        return whiten(returns_to_go(paid, x.mask), x.mask)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        value = clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)
        if not (baseline and beta):
            return value
        reference = with_reference_logp(task.reference, rows).logp
        record_kl(logp, reference, rows.mask)
        return value + beta * k2(logp, reference)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        advantage=advantage,
        loss=loss,
        reduce=per_token,
        against_reference=bool(beta),
        reads_logp=bool(beta) and not baseline,
    )


CLEAN = {"world.mode": "idiosyncratic", "world.pairs": 8000, "world.noise": 0.0}
RATES = (0.16, 0.32, 0.64, 1.28, 2.56)


@Claim(
    "With a sound proxy REINFORCE++ learns as fast as GRPO, both at their best rate, and from its "
    "reward.",
    arms={
        "mine": ("reinforce_pp", {"max_steps": 20, "epochs": 2, "beta": 0.0, **CLEAN}),
        "grpo": ("grpo", {"max_steps": 20, "epochs": 2, "beta": 0.0, **CLEAN}),
        "coins": (
            "reinforce_pp",
            {"max_steps": 20, "epochs": 2, "beta": 0.0, **CLEAN, "world.noise": 0.5},
        ),
    },
    worlds=("table",),
    least={"not below grpo": -0.1, "over coins": 0.0},
    seeds="100..119",
    tuned={
        "mine": {"learning_rate": RATES},
        "grpo": {"learning_rate": RATES},
        "coins": "mine",
    },
    by=average,
    control=("over coins",),
    broken="a proxy that is fitted on labels that are coins",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold over the readings of 20 steps minus GRPO's at its own best rate, and minus that of
    the same recipe against a proxy that knows nothing. Gold's unit is its deviation under the
    reference.
    """
    mine = average(arms["mine"])
    return {
        "not below grpo": mine - average(arms["grpo"]),
        "over coins": mine - average(arms["coins"]),
    }
