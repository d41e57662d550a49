"""Judges to one score: `[M,B,N] → [B,N]`. Identical judges give that judge, with spread 0, to the
last bit.

A Bradley–Terry score is known only up to a constant a prompt and member. The mean's ranking within
a prompt ignores it; the worst case, a quantile and the uncertainty-weighted mean do not: give them
`centred` scores, or members fitted with the centring term. NaN ("does not apply") passes through
all of these but `weighted_sum`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def centred(scores: Float[Tensor, "M B N"], present: Bool[Tensor, "B N"]) -> Float[Tensor, "M B N"]:
    """Each member's scores less their mean over the prompt's present answers; 0 where absent.
    Removes the free constant.
    """
    least = torch.where(present, scores, torch.inf).amin(-1, keepdim=True)
    d = torch.where(present, scores - least, scores.new_zeros(()))
    return torch.where(
        present,
        d - d.sum(-1, keepdim=True) / present.sum(-1, keepdim=True).clamp(min=1),
        scores.new_zeros(()),
    )


def _moments(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance over members, float64, as differences from the first: exact
    where members agree.
    """
    wide = scores.double()
    d = wide - wide[:1]
    shift = d.mean(0)
    return wide[0] + shift, (d - shift).square().mean(0)


def mean(scores: Float[Tensor, "M B N"]) -> Float[Tensor, "B N"]:
    """(1/M)·Σ rᵢ over members. Its ranking within a prompt ignores each member's free constant."""
    return _moments(scores)[0].to(scores.dtype)


def worst(scores: Float[Tensor, "M B N"]) -> Float[Tensor, "B N"]:
    """minᵢ rᵢ (WCO; Coste et al. 2023). Give it centred scores."""
    return scores.amin(0)


def uncertainty_weighted(scores: Float[Tensor, "M B N"], *, lam: float) -> Float[Tensor, "B N"]:
    """mean − lam·variance (UWO; Coste et al. 2023), the variance over members divided by M, not
    M−1. Give it centred scores.

    lam = 0 is the mean exactly. Unbounded below (held at the type's least finite number): clip
    after, never before.
    """
    middle, variance = _moments(scores)
    return (middle - lam * variance).clamp(min=torch.finfo(scores.dtype).min).to(scores.dtype)


def quantile(scores: Float[Tensor, "M B N"], *, q: float) -> Float[Tensor, "B N"]:
    """The q-quantile over members, linear between order statistics: q = 0 the worst, ½ the median,
    1 the best.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"q is {q}; a quantile's q lies in [0, 1]")
    ranked, place = scores.sort(0).values, q * (scores.shape[0] - 1)
    below = min(int(place), max(scores.shape[0] - 2, 0))
    above = min(below + 1, scores.shape[0] - 1)
    value = torch.lerp(ranked[below], ranked[above], place - below)
    return torch.where(torch.isnan(scores).any(0), scores.new_full((), torch.nan), value)


def weighted_sum(
    scores: Float[Tensor, "M B N"], weights: Float[Tensor, "M"] | Float[Tensor, "B M"]
) -> Float[Tensor, "B N"]:
    """Σ wᵢrᵢ over objectives; weights `[M]`, or `[B,M]` for one set a prompt.

    An objective that does not apply (NaN) has no part in the sum; where none applies, the sum is
    NaN.
    """
    w = (weights if weights.dim() == 2 else weights[None]).to(scores.dtype).T[..., None]
    applies = ~torch.isnan(scores)
    total = torch.where(
        applies, w * torch.where(applies, scores, scores.new_zeros(())), scores.new_zeros(())
    ).sum(0)
    return torch.where(applies.any(0), total, scores.new_full((), torch.nan))


@torch.no_grad()
def spread(scores: Float[Tensor, "M B N"]) -> Float[Tensor, "B N"]:
    """Standard deviation over members (÷ M), in the scores' units, without gradient. Compare
    centred scores.
    """
    return _moments(scores)[1].sqrt().to(scores.dtype)
