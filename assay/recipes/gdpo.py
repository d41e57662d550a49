"""GDPO: standardise each of several rewards in its group by itself, then sum, then whiten.

    A_i = Σ_k w_k·(r^k_i − mean(r^k))/(std(r^k) + 10⁻⁴),  then (A − mean)/std over the batch

GRPO standardises the weighted sum: completions that differ in what they are rewarded for may then
have one advantage, and a reward of a large deviation drowns the others. Against `grpo` it changes
the advantage alone. The whitening over the batch keeps the advantage's size the same however many
rewards there are; it is over completions (÷ n), and `whitened` switches it off. The rewards are the
task's first `members` reward models. One that does not apply to a completion adds 0 to it, as in
TRL, and is left out of its group's mean and deviation.

The paper also conditions an easy reward on a hard one (r_easy counts where r_hard is above a
threshold); that is a change of the reward, see `gated_rewards`, and not here.

Aggregation: a mean over tokens, then over completions. KL: k3 in the loss, 0 by default. TRL has
the advantage as `multi_objective_aggregation="normalize_then_sum"`.

The step's statistic `reward` is of the sum of standardised rewards, which is 0 on average; readings
report the weighted sum of the rewards themselves as the proxy.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import decoupled, whiten
from assay.formulas.aggregate import weighted_sum
from assay.formulas.divergence import k3
from assay.formulas.reduce import per_completion_token
from assay.loops import (
    clipped_surrogate,
    member_scores,
    online,
    record_kl,
    require_group,
    with_reference_logp,
)
from assay.loops.missing import note_missing
from assay.stats.effects import Reading, average

paper = Paper(
    "GDPO: Group reward-Decoupled Normalization Policy Optimization for Multi-reward RL "
    "Optimization",
    "Liu et al.",
    2026,
    "arXiv:2601.05242",
)
reduces = {"grpo": ({"members": 1, "whitened": False}, {"beta": 0.0})}


def recipe(
    task: Task,
    *,
    members: int = 0,
    weights: tuple[float, ...] = (),
    whitened: bool = True,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    beta: float = 0.0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by GDPO and yield the policy after each step.

    Args:
        members: How many of the task's reward models are rewards, counted from the first; 0 for
            all.
        weights: One weight a reward; none for 1 each.
        whitened: Whiten the advantages over the batch.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        beta: Weight of k3 in the loss.
    """
    several, count = member_scores(task, members), members or len(task.rewards.names)
    if weights and len(weights) != count:
        raise InputError(
            f"--weights has {len(weights)} numbers and there are {count} rewards; give one each"
        )
    w, each = torch.tensor(weights or (1.0,) * count), task.rewards.only(range(count))

    def reward(x: Samples) -> Tensor:
        scores = each(x)  # not filled in: another reward would count twice in its place
        require_group(scores[0])
        note_missing(x, x.present & torch.isnan(scores).all(0))
        return decoupled(scores, x.present, weights=tuple(weights))

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        return (whiten(reward, x.present) if whitened else reward)[..., None]

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        value = clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)
        if not beta:
            return value
        reference = with_reference_logp(task.reference, rows).logp
        record_kl(logp, reference, rows.mask)
        return value + beta * k3(logp, reference)

    yield from online(
        task,
        loop,
        score=lambda x: weighted_sum(several(x), w.to(x.mask.device)),
        reward=reward,
        advantage=advantage,
        loss=loss,
        reduce=per_completion_token,
        against_reference=bool(beta),
        reads_logp=False,
    )


CLEAN = {"world.mode": "idiosyncratic", "world.pairs": 400, "world.noise": 0.0, "max_steps": 20}
RATES = (0.16, 0.32, 0.64, 1.28, 2.56)


@Claim(
    "With five proxies as five rewards GDPO learns faster than GRPO on their mean, both at their "
    "best rate.",
    arms={
        "mine": ("gdpo", CLEAN),
        "grpo": ("grpo", {"beta": 0.0, "aggregate": "mean", **CLEAN}),
        "coins": ("gdpo", {**CLEAN, "world.noise": 0.5}),
    },
    worlds=("table",),
    least={"over grpo": 0.1, "over coins": 0.0},
    seeds="100..119",
    tuned={
        "mine": {"learning_rate": RATES},
        "grpo": {"learning_rate": RATES},
        "coins": "mine",
    },
    by=average,
    control=("over coins",),
    broken="proxies that are fitted on labels that are coins",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold over the readings of 20 steps minus that of GRPO on the mean of the same rewards,
    and minus that of GDPO on rewards that know nothing. The world's proxies all have deviation 1,
    so that what GDPO corrects, unequal units, is not there.
    """
    mine = average(arms["mine"])
    return {f"over {k}": mine - average(arms[k]) for k in ("grpo", "coins")}
