"""GRPO-Guard: Flow-GRPO whose ratios are centred and scaled alike at every step before the clip.

    log ρ̂ = ⟨z, μ − μ_old⟩,    z = (x' − μ_old)/s
    L     = mean over steps of −δ_t·min(ρ̂·A, clip(ρ̂, 1−ε, 1+ε)·A),    δ_t ∝ 1/|t' − t|

A step's plain log-ratio is ⟨z, Δμ⟩/s − ‖Δμ‖²/2s². Where it is averaged over coordinates, as Flow-
GRPO's code does, its exponential has a mean below 1, and a spread that grows as the noise falls, so
that few good samples meet the upper clip and the steps near the data meet the lower one. Here the
second term is taken out and the first multiplied by s: log ρ̂ has mean 0 under the old policy, and
its spread is ‖Δμ‖ at every step. δ_t, divided by its mean over the steps, evens out the gradients.

`normalise` and `reweigh` switch the two parts; without both it is `flow_grpo`. With one update a
batch ρ̂ = 1, nothing is clipped, and the ratio's scale alone is left.

Traps. ρ̂ is no importance ratio. Where a step's log-probability is a sum over coordinates the plain
ratio has mean 1 already, and what falls is its median. ε means another thing than with the plain
ratio: the spread of log ρ̂ is smaller by the factor s, and a comparison at one ε compares clips that
bind with clips that do not. KL, advantages and the steps that are trained are Flow-GRPO's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, DrawsBySteps, Loop, Paper, Samples, Step, Task, require
from assay.engine.parallel import by_rows
from assay.formulas.flow import guarded_log_ratio
from assay.formulas.reduce import per_completion_token
from assay.loops import Rollouts, clipped_surrogate, online, proxy_score
from assay.loops.flow_steps import STEP_MEAN, batch_scaled, step_penalty, trained_on
from assay.stats.effects import Reading, final

paper = Paper(
    "GRPO-Guard: Mitigating Implicit Over-Optimization in Flow Matching via Regulated Clipping",
    "Wang et al.",
    2025,
    "arXiv:2510.22319",
)
reduces = {"flow_grpo": ({"normalise": False, "reweigh": False}, {"beta": 0.0})}


def recipe(
    task: Task,
    *,
    epsilon: float = 0.2,
    normalise: bool = True,
    reweigh: bool = True,
    beta: float = 0.0,
    share: float = 0.99,
    limit: float = 5.0,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train by GRPO-Guard and yield the policy after each step.

    Args:
        epsilon: ρ̂ is clipped to 1 ± epsilon.
        normalise: Centre and scale the ratios.
        reweigh: Weigh steps by 1/|t' − t|, over its mean.
        beta: Weight of the steps' KL.
        share: Share of the steps that are trained, the first ones.
        limit: Advantages are held within ±limit.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    actor: Any = require(task.reference.copy(), DrawsBySteps, "grpo_guard")

    def prepare(batch: Rollouts) -> Rollouts:
        x = batch.samples
        A = batch_scaled(batch.reward, x, limit=limit)
        if normalise:
            mean = by_rows(lambda rows: actor.gaussian_steps(rows).mean, x)
            batch = replace(batch, samples=replace(x, extra={**x.extra, STEP_MEAN: mean}))
        return trained_on(batch, A, share)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        steps = actor.gaussian_steps(rows)
        if normalise:
            found = guarded_log_ratio(
                steps.mean,
                rows.extra[STEP_MEAN],
                rows.action,
                steps.std.expand(rows.mask.shape),
                reduction=actor.reduction,
            )
            logp = torch.where(rows.mask, found, found.new_zeros(()))
            rows = replace(rows, logp=torch.zeros_like(rows.logp))
        value = clipped_surrogate(logp, rows, advantage, low=epsilon, high=epsilon)
        if reweigh:
            weight = 1 / steps.times.diff().abs()
            value = value * (weight / weight.mean())
        if not beta:
            return value
        return value + beta * step_penalty(actor, task.reference, rows)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=prepare,
        loss=loss,
        reduce=per_completion_token,
        policy=actor,
        reads_logp=False,
    )


_RUN = {"world.logp": "mean", "max_steps": 60, "epochs": 6}
_CLIPS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
_RATES = (0.001, 0.002, 0.004)


@Claim(
    "With six updates a batch, each side at its own best clip and rate, gold ends higher with "
    "ratios that are centred and scaled alike than with plain ones, and than with a small KL.",
    arms={
        "guard": ("grpo_guard", _RUN),
        "plain": ("grpo_guard", {**_RUN, "normalise": False, "reweigh": False}),
        "kl": ("flow_grpo", _RUN),
        "reweighed": ("grpo_guard", {**_RUN, "normalise": False}),
    },
    worlds=("flow",),
    # a tenth of gold's deviation; to beat the control is enough
    least={"over plain": 0.1, "over KL": 0.1, "over reweighed": 0.0},
    seeds="100..119",
    tuned={
        "guard": {"epsilon": _CLIPS, "learning_rate": _RATES},
        "plain": {"epsilon": _CLIPS, "learning_rate": _RATES},
        "kl": {"beta": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0), "learning_rate": _RATES},
        "reweighed": {"epsilon": _CLIPS, "learning_rate": _RATES},
    },
    control=("over reweighed",),
    broken="the weights of the steps without the ratios' normalisation, at its own best clip",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final gold minus that with plain ratios, with Flow-GRPO's KL, and with weighted steps alone.
    Gold's unit is its deviation under the reference.
    """
    guard = final(arms["guard"])
    return {
        "over plain": guard - final(arms["plain"]),
        "over KL": guard - final(arms["kl"]),
        "over reweighed": guard - final(arms["reweighed"]),
    }
