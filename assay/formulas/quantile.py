"""Quantiles: pinball loss, interval score, aggregation and conformal calibration.

`levels [Q]` ascend in (0, 1), and are the last axis of predicted quantiles. Quantiles that cross
are no distribution; sorting them (`uncrossed`) never makes the weighted interval score worse,
whatever the truth is.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def pinball(
    predicted: Float[Tensor, "*S Q"], truth: Float[Tensor, "*S"], levels: Float[Tensor, "Q"]
) -> Float[Tensor, "*S Q"]:
    """Pinball loss, least on average at the τ-quantile of y: max(τ·(y − q), (τ − 1)·(y − q)).

    Args:
        predicted: q `[*S, Q]`.
        truth: y `[*S]`.
        levels: τ `[Q]`.

    Returns:
        `[*S, Q]` in units of y.

    Source: Koenker & Bassett, "Regression quantiles", 1978.
    """
    miss = truth[..., None] - predicted
    return torch.maximum(levels * miss, (levels - 1) * miss)


def interval_score(
    predicted: Float[Tensor, "*S Q"], truth: Float[Tensor, "*S"], levels: Float[Tensor, "Q"]
) -> Float[Tensor, "*S"]:
    """Weighted interval score: twice the mean pinball loss over the levels.

    Args:
        predicted: `[*S, Q]`.
        truth: `[*S]`.
        levels: `[Q]`.

    Returns:
        `[*S]` in units of the truth.

    Source: Bracher et al., "Evaluating epidemic forecasts in an interval format", 2021.
    """
    return 2 * pinball(predicted, truth, levels).mean(-1)


def uncrossed(predicted: Float[Tensor, "*S Q"]) -> Float[Tensor, "*S Q"]:
    """The same numbers in ascending order: quantiles that do not cross.

    Args:
        predicted: `[*S, Q]`.

    Returns:
        `[*S, Q]`.

    Source: Chernozhukov et al., "Quantile and probability curves without crossing", 2010.
    """
    return predicted.sort(-1).values


def aggregated(
    predicted: Float[Tensor, "M *S Q"],
    weights: Float[Tensor, "M"] | Float[Tensor, "M Q"] | Float[Tensor, "M *S Q"],
) -> Float[Tensor, "*S Q"]:
    """Quantiles of members averaged at equal levels, and sorted: Σ_m w_m(τ, x)·q_m(τ | x).

    Args:
        predicted: `[M, *S, Q]`.
        weights: `[M]`; `[M, Q]` for one set a level; `[M, *S, Q]` for one set a level and row, as
            a network of features gives. At least 0, summing to 1 over members.

    Returns:
        `[*S, Q]`. Identical members give that member.

    Raises:
        ValueError: A weight is below 0, or weights do not sum to 1.

    Source: Fakoor et al., "Flexible Model Aggregation for Quantile Regression", 2023.
    """
    w = weights if weights.dim() > 1 else weights[:, None]
    total = w.sum(0)
    if bool((w < 0).any()) or not torch.allclose(total, torch.ones_like(total)):
        raise ValueError(
            f"weights are {weights.flatten()[:8].tolist()} …; they must be at least 0 and sum to 1 "
            "over members"
        )
    if w.dim() == 2:
        w = w.reshape(w.shape[0], *[1] * (predicted.dim() - 2), w.shape[1])
    return uncrossed(predicted[0] + (w * (predicted - predicted[:1])).sum(0))


def crossing(predicted: Float[Tensor, "*S Q"], *, margin: float = 0.0) -> Float[Tensor, "*S"]:
    """How far quantiles cross: Σ_k max(0, q(τ_k) − q(τ_{k+1}) + margin); 0 where they ascend.

    Args:
        predicted: `[*S, Q]`, before sorting.
        margin: Least distance of neighbours, in units of the truth.

    Returns:
        `[*S]`. Beside the pinball loss, it keeps a network from learning what sorting undoes.

    Source: Fakoor et al., arXiv:2103.00083, for the penalty on crossing.
    """
    return (predicted[..., :-1] - predicted[..., 1:] + margin).clamp(min=0).sum(-1)


def conformal(excess: Float[Tensor, "S"], *, level: float) -> Float[Tensor, ""]:
    """Split conformal prediction: the ⌈(S+1)·level⌉-th smallest of S calibration scores.

    A new score that is exchangeable with these is at most this number with probability at least
    `level`, for any S and any distribution. With excess = q_low(x) − y it is what to subtract from
    a low quantile (CQR), and can be below 0. There is no guarantee for completions of another
    policy.

    Args:
        excess: Calibration scores `[S]`.
        level: In (0, 1).

    Returns:
        A scalar; +inf if S is too small for the level.

    Raises:
        ValueError: level is outside (0, 1).

    Source: Vovk et al., "Algorithmic Learning in a Random World", 2005; Romano et al.,
        "Conformalized Quantile Regression", arXiv:1905.03222, 2019.
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
    """Linear quantile regression: weights that minimise the pinball loss.

    Args:
        inputs: `[S, F]`.
        truth: `[S]`.
        levels: `[Q]`.
        rounds: Most rounds.
        width: Each residual's kink is rounded off within this share of the truth's standard
            deviation.

    Returns:
        `[F, Q]` in float64, one column a level.
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
        weighted = pull[:, :, None] * x[:, None]  # [S,Q,F]
        gram = (weighted[..., None] * x[:, None, None]).sum(0) + nearly
        new = torch.linalg.solve(gram, (weighted * y[:, None, None]).sum(0)).T
        done = bool((new - w).abs().max() <= 1e-9 * w.abs().max().clamp(min=1.0))
        w = new
        if done:
            break
    return w
