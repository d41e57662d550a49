"""Optimise a low quantile of the true value, calibrated on a few bought labels.

worst_case and a plain quantile over reward models take their disagreement for the uncertainty, on
no evidence. Here evidence is bought: `bought` gold labels of the reference's completions, once,
before the first step (counted as `labels` in every reading). On the first half of them every reward
model m learns quantiles of gold, by linear quantile regression on its own score and the ensemble's
spread; on the next quarter the reward models get weights; on the last quarter the low quantile is
calibrated:

    q_m(τ|x) = a_mτ + b_mτ·r_m(x) + c_mτ·spread(x)                 pinball loss
    q(τ|x)   = sorted over τ of Σ_m w_m q_m(τ|x)                   never worse for being sorted
    r(x)     = q(½) − κ·(q(½) − q(level))                          κ: split-conformal

κ is the ⌈(S+1)(1−level)⌉-th smallest of (q(½) − y)/(q(½) − q(level)) over the S completions of the
last quarter. So at least a share 1 − level of *reference* completions is worth more than r(x),
whatever the reward models are. A constant taken off instead (the usual conformal step) would change
no ranking within a prompt and no policy; a scale does. Once the policy moves, its completions are
no longer exchangeable with those that were labeled, and nothing is promised: the guarantee ends
where over-optimisation begins. What then still works is the slope on the spread, if disagreement
really went with low gold among the labeled ones.

Differs from worst_case in the aggregate alone; with `bought` = 0 it is the ensemble's
`level`-quantile, at level 0 its least member. The paper's aggregators give every model and level a
weight by a network; one weight a model is the coarse case.

Here: it gains on one reward model at equal KL and lies below the uncalibrated quantile of the same
ensemble, which buys no label. 160 labels of reference completions do not pay for themselves there,
and the claim asks for both (`assay claims --run quantile_aggregation --world table --seeds
30..69`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Ask, Claim, InputError, Loop, Paper, Samples, Task
from assay.formulas.aggregate import quantile, spread
from assay.formulas.quantile import aggregated, best_weights, conformal, regression
from assay.loops import member_scores, online
from assay.stats.effects import Reading, matched_gain

paper = Paper(
    "Flexible Model Aggregation for Quantile Regression", "Fakoor et al.", 2021, "arXiv:2103.00083"
)
reduces = {"worst_case": ({"level": 0.0, "bought": 0}, {})}


def recipe(
    task: Task, *, level: float = 0.1, bought: int = 160, members: int = 0, loop: Loop = Loop()
) -> Generator[Any, Any, None]:
    """Ask for labels once, then train and yield the policy after each step.

    Args:
        level: Level of the quantile that is optimised, from 0 to below 0.5.
        bought: Gold labels; 0 for none.
        members: Reward models, counted from the first; 0 for all.
    """
    if not 0 <= level < 0.5 or (bought and level == 0):
        raise InputError(
            f"--level is {level}; a low quantile lies below 0.5, and above 0 where labels are "
            "bought"
        )
    if bought and (bought // 4 + 1) * level < 1:
        raise InputError(
            f"--bought is {bought}, and a quarter of it cannot calibrate a quantile at {level}; "
            f"buy at least {4 * int(1 / level)} or raise --level"
        )
    scores = member_scores(task, members)
    if not bought:
        yield from online(task, loop, score=lambda x: quantile(scores(x), q=level))
        return
    levels = torch.tensor([level, 0.25 + level / 2, 0.5], dtype=torch.float64)
    carry: Any = task.carry.keep(slopes=None, weights=None, kappa=None)
    if carry.slopes is None:
        rows = torch.arange(bought) % len(task.prompts)
        x = task.reference.sample(task.prompts[rows], 1, task.rng("bought"))
        labels = yield Ask(x)
        carry.slopes, carry.weights, carry.kappa = calibrated(
            inputs(scores(x))[:, :, 0], labels[:, 0].double(), levels
        )

    def score(x: Samples) -> Tensor:
        told = quantiles(inputs(scores(x)), carry.slopes, carry.weights)
        return (told[..., -1] - carry.kappa * (told[..., -1] - told[..., 0])).to(x.logp.dtype)

    for step in online(task, loop, score=score):
        yield replace(
            step,
            stats={
                **step.stats,
                "quantile/kappa": float(carry.kappa),
                "quantile/heaviest_weight": float(carry.weights.max()),
            },
        )


def inputs(scores: Float[Tensor, "M B N"]) -> Float[Tensor, "M B N 3"]:
    """What a reward model's quantiles are linear in: 1, its score, the ensemble's spread."""
    wide = scores.double()
    return torch.stack([torch.ones_like(wide), wide, spread(wide).expand_as(wide)], -1)


def quantiles(
    x: Float[Tensor, "M *S 3"], slopes: Float[Tensor, "M 3 Q"], weights: Float[Tensor, "M"]
) -> Float[Tensor, "*S Q"]:
    """Quantiles of the ensemble, sorted."""
    return aggregated(each(x, slopes), weights)


def each(x: Float[Tensor, "M *S 3"], slopes: Float[Tensor, "M 3 Q"]) -> Float[Tensor, "M *S Q"]:
    """Quantiles of each reward model.

    The sum of three terms is written out so that its last bit is the same in every process.
    """
    a, b, c = slopes.reshape(len(slopes), 3, *[1] * (x.dim() - 2), slopes.shape[-1]).unbind(1)
    return a * x[..., :1] + b * x[..., 1:2] + c * x[..., 2:]


def calibrated(
    x: Float[Tensor, "M S 3"], truth: Float[Tensor, "S"], levels: Float[Tensor, "Q"]
) -> tuple[Float[Tensor, "M 3 Q"], Float[Tensor, "M"], Float[Tensor, ""]]:
    """Fit quantiles on the first half, weights on the third quarter, κ on the last one.

    Returns:
        Slopes, weights and κ.
    """
    half, most = truth.shape[0] // 2, truth.shape[0] - truth.shape[0] // 4
    slopes = torch.stack([regression(rows[:half], truth[:half], levels) for rows in x])
    weights = best_weights(each(x[:, half:most], slopes), truth[half:most], levels)
    told = quantiles(x[:, most:], slopes, weights)
    wide = told[:, -1] - told[:, 0]
    return (
        slopes,
        weights,
        conformal((told[:, -1] - truth[most:]) / wide.clamp(min=1e-9), level=1 - float(levels[0])),
    )


@Claim(
    "At equal KL, a calibrated low quantile of the ensemble keeps more gold than one reward model "
    "or the quantile as it is.",
    arms={
        "mine": ("quantile_aggregation", {}),
        "single": ("leave_one_out", {}),
        "uncalibrated": ("quantile_aggregation", {"bought": 0}),
    },
    turns="single",
    worlds=("table", "grammar"),
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold difference over the shared range of √KL: to one reward model, and to the
    uncalibrated quantile.
    """
    return {f"over {k}": matched_gain(arms["mine"], arms[k]) for k in ("single", "uncalibrated")}
