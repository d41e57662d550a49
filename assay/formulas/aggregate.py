"""Aggregate the scores of M reward models, `[M, B, N]`, into one score `[B, N]`.

Identical reward models give that model's score with spread 0, to the last bit. A Bradley–Terry
score is known up to a constant for each prompt and member. The ranking by the mean does not depend
on these constants; the worst case, a quantile and the uncertainty-weighted mean do, and need
`centred` scores or members fitted with the centring term. NaN ("does not apply") passes through all
of these functions but `weighted_sum`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def centred(scores: Float[Tensor, "M B N"], present: Bool[Tensor, "B N"]) -> Float[Tensor, "M B N"]:
    """Each member's scores minus their mean over the prompt's completions.

    Args:
        scores: `[M, B, N]`.
        present: Which completions count `[B, N]`.

    Returns:
        `[M, B, N]`, 0 for absent completions.
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
    """Mean over members: (1/M)·Σᵢ rᵢ.

    Args:
        scores: `[M, B, N]`.

    Returns:
        `[B, N]`. The ranking within a prompt does not depend on the members' constants.
    """
    return _moments(scores)[0].to(scores.dtype)


def worst(scores: Float[Tensor, "M B N"]) -> Float[Tensor, "B N"]:
    """Worst-case optimisation: the lowest score over members, minᵢ rᵢ.

    Args:
        scores: Centred scores `[M, B, N]`.

    Returns:
        `[B, N]`.

    Source: Coste et al., "Reward Model Ensembles Help Mitigate Overoptimization", arXiv:2310.02743,
        2023.
    """
    return scores.amin(0)


def uncertainty_weighted(scores: Float[Tensor, "M B N"], *, lam: float) -> Float[Tensor, "B N"]:
    """Uncertainty-weighted optimisation: the mean minus a multiple of the variance over members.

    (1/M)·Σᵢ rᵢ − λ·(1/M)·Σᵢ (rᵢ − r̄)²

    Args:
        scores: Centred scores `[M, B, N]`.
        lam: λ, per unit of score; 0 gives the mean exactly.

    Returns:
        `[B, N]`, not below the dtype's lowest finite number. Clip after it, never before.

    Source: Coste et al., arXiv:2310.02743, 2023.
    """
    middle, variance = _moments(scores)
    return (middle - lam * variance).clamp(min=torch.finfo(scores.dtype).min).to(scores.dtype)


def mean_minus_deviation(
    scores: Float[Tensor, "M B N"], *, lam: float = 1.0
) -> Float[Tensor, "B N"]:
    """The mean minus a multiple of the standard deviation over members (÷ M).

    (1/M)·Σᵢ rᵢ − λ·√((1/M)·Σᵢ (rᵢ − r̄)²)

    Args:
        scores: Centred scores `[M, B, N]`.
        lam: λ, a pure number: unlike a variance, a deviation has the unit of the scores.

    Returns:
        `[B, N]`.

    Source: Eisenstein et al., "Helping or Herding?", arXiv:2312.09244, 2023.
    """
    middle, variance = _moments(scores)
    return (middle - lam * variance.sqrt()).to(scores.dtype)


def quantile(scores: Float[Tensor, "M B N"], *, q: float) -> Float[Tensor, "B N"]:
    """The q-quantile over members, linear between order statistics.

    Args:
        scores: Centred scores `[M, B, N]`.
        q: From 0 (the worst) over ½ (the median) to 1 (the best).

    Returns:
        `[B, N]`.

    Raises:
        ValueError: q is outside [0, 1].
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
    """Weighted sum over objectives: Σᵢ wᵢ·rᵢ.

    Args:
        scores: `[M, B, N]`; NaN where an objective does not apply.
        weights: `[M]`, or `[B, M]` for one set a prompt.

    Returns:
        `[B, N]`. Objectives that do not apply are left out; NaN where none applies.
    """
    w = (weights if weights.dim() == 2 else weights[None]).to(scores.dtype).T[..., None]
    applies = ~torch.isnan(scores)
    total = torch.where(
        applies, w * torch.where(applies, scores, scores.new_zeros(())), scores.new_zeros(())
    ).sum(0)
    return torch.where(applies.any(0), total, scores.new_full((), torch.nan))


@torch.no_grad()
def spread(scores: Float[Tensor, "M B N"]) -> Float[Tensor, "B N"]:
    """Standard deviation over members (÷ M), without gradient.

    Args:
        scores: Centred scores `[M, B, N]`.

    Returns:
        `[B, N]` in units of score.
    """
    return _moments(scores)[1].sqrt().to(scores.dtype)
