"""Quantiles: the loss that has them as its minimum, intervals and their score, sorted aggregation,
conformal calibration.

`levels [Q]` ascend in (0, 1); quantile predictions have the levels as their last axis. A prediction
whose quantiles cross is no distribution; sorting them (`uncrossed`) never makes the weighted
interval score worse, whatever the truth turns out to be.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def pinball(
    predicted: Float[Tensor, "*S Q"], truth: Float[Tensor, "*S"], levels: Float[Tensor, "Q"]
) -> Float[Tensor, "*S Q"]:
    """max(τ·(y − q), (τ − 1)·(y − q)): its expectation is least where q is the τ-quantile of y
    (Koenker & Bassett 1978).
    """
    miss = truth[..., None] - predicted
    return torch.maximum(levels * miss, (levels - 1) * miss)


def interval_score(
    predicted: Float[Tensor, "*S Q"], truth: Float[Tensor, "*S"], levels: Float[Tensor, "Q"]
) -> Float[Tensor, "*S"]:
    """The weighted interval score: twice the mean pinball loss over the levels, in the units of y
    (Bracher et al. 2021).
    """
    return 2 * pinball(predicted, truth, levels).mean(-1)


def uncrossed(predicted: Float[Tensor, "*S Q"]) -> Float[Tensor, "*S Q"]:
    """The same numbers in ascending order: quantiles that do not cross (Chernozhukov et al. 2010)."""
    return predicted.sort(-1).values


def aggregated(
    predicted: Float[Tensor, "M *S Q"], weights: Float[Tensor, "M"] | Float[Tensor, "M Q"]
) -> Float[Tensor, "*S Q"]:
    """Σ_m w_m·q_m(τ), sorted: members' quantiles averaged at equal levels (Vincent 1912; Fakoor et
    al. 2023). Weights are at least 0 and sum to 1 over members, one set for all levels or one for
    each. Members alike give that member.
    """
    w = weights if weights.dim() == 2 else weights[:, None]
    if bool((w < 0).any()) or not torch.allclose(w.sum(0), torch.ones_like(w[0])):
        raise ValueError(
            f"weights are {weights.tolist()}; they must be at least 0 and sum to 1 over members"
        )
    wide = w.reshape(w.shape[0], *[1] * (predicted.dim() - 2), w.shape[1])
    return uncrossed(predicted[0] + (wide * (predicted - predicted[:1])).sum(0))


def conformal(excess: Float[Tensor, "S"], *, level: float) -> Float[Tensor, ""]:
    """The ⌈(S+1)·level⌉-th smallest of S calibration scores; +∞ where S is too small for the level.

    If a new score is exchangeable with these, it is at most this number with chance at least
    `level`, for any S and any law (split conformal prediction; Vovk et al. 2005). With excess =
    q_low(x) − y it is what to take off a low quantile (CQR; Romano et al. 2019), and may be below
    0. Nothing is promised for answers drawn from another policy.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; a coverage lies above 0 and below 1")
    rank = math.ceil((len(excess) + 1) * level - 1e-9)
    return excess.new_full((), math.inf) if rank > len(excess) else excess.sort().values[rank - 1]


def regression(
    inputs: Float[Tensor, "S F"],
    truth: Float[Tensor, "S"],
    levels: Float[Tensor, "Q"],
    *,
    rounds: int = 200,
    width: float = 1e-3,
) -> Float[Tensor, "F Q"]:
    """Linear quantile regression: weights that (nearly) minimise the mean pinball loss, a column a
    level; float64.

    By reweighted least squares, each residual's kink rounded off within `width` of the truth's
    deviation; convex.
    """
    x, y, tau = inputs.double(), truth.double(), levels.double()
    least = width * y.std(correction=0).clamp(min=1e-12)
    nearly = (
        1e-9 * torch.eye(x.shape[1], dtype=x.dtype) * x.square().mean().clamp(min=1e-12) * len(x)
    )
    w = x.new_zeros(x.shape[1], len(tau))
    for _ in range(
        rounds
    ):  # sums written out: a matrix product's last bit depends on where its operands lie in memory
        miss = y[:, None] - (x[:, :, None] * w).sum(1)
        pull = torch.where(miss > 0, tau, 1 - tau) / miss.abs().clamp(min=least)  # [S,Q]
        drawn = pull[:, :, None] * x[:, None]  # [S,Q,F]
        gram = (drawn[..., None] * x[:, None, None]).sum(0) + nearly
        new = torch.linalg.solve(gram, (drawn * y[:, None, None]).sum(0)).T
        done = bool((new - w).abs().max() <= 1e-9 * w.abs().max().clamp(min=1.0))
        w = new
        if done:
            break
    return w


def best_weights(
    predicted: Float[Tensor, "M S Q"],
    truth: Float[Tensor, "S"],
    levels: Float[Tensor, "Q"],
    *,
    rounds: int = 500,
    rate: float = 0.5,
) -> Float[Tensor, "M"]:
    """Weights of members that minimise the mean pinball loss of their average, at least 0 and
    summing to 1; float64.

    Exponentiated subgradients from equal weights, averaged over the rounds; convex, so what is left
    is of order 1/√rounds.
    """
    q, y, tau = predicted.double(), truth.double(), levels.double()
    spread = (q - q.mean(0)).abs().amax().clamp(min=1e-12)
    w = total = torch.full((len(q),), 1 / len(q), dtype=q.dtype)
    for t in range(1, rounds):
        over = (
            (w[:, None, None] * q).sum(0) > y[:, None]
        ).double() - tau  # the loss's slope in the average
        slope = (over * q).mean((1, 2))
        w = torch.softmax(w.log() - rate * slope / spread, 0)
        total = total + (w - total) / (t + 1)
    return total / total.sum()
