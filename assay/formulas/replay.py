"""Selective sample replay: draw stored completions by how much they teach."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


@torch.no_grad()
def replay_probabilities(
    advantage: Float[Tensor, "K"], *, alpha: float = 1.0
) -> Float[Tensor, "K"]:
    """Probability with which each stored completion is drawn: p_k = |A_k|^α / Σ_j |A_j|^α.

    Drawn by α = 1 and learned from with their advantages, completions weigh as |A|·A, so that the
    gradient is no longer that of the expected reward. α = 0 draws all with A ≠ 0 alike.

    Args:
        advantage: A `[K]`.
        alpha: α, at least 0.

    Returns:
        `[K]` in float64, 0 where A is 0, and 0 throughout where all are.

    Raises:
        ValueError: alpha is negative, or an advantage is not finite.

    Source: Wang et al., "VL-Rethinker", arXiv:2504.08837, 2025.
    """
    if not alpha >= 0:
        raise ValueError(f"alpha is {alpha}; the exponent of |A| must be at least 0")
    if not bool(torch.isfinite(advantage).all()):
        raise ValueError("an advantage is not finite, and nothing can be drawn by it")
    size = advantage.double().abs()
    weight = torch.where(size > 0, size.pow(alpha), torch.zeros_like(size))
    total = weight.sum()
    return weight / torch.where(total > 0, total, torch.ones_like(total))


@torch.no_grad()
def drawn(probability: Float[Tensor, "K"], u: Float[Tensor, "n"]) -> Int[Tensor, "n"]:
    """Draw with replacement by the inverse distribution function.

    Args:
        probability: p `[K]`, not all 0; what has 0 is never drawn.
        u: Uniform numbers, from 0 to below 1 `[n]`.

    Returns:
        Places `[n]`.

    Raises:
        ValueError: All probabilities are 0.
    """
    if not bool((probability > 0).any()):
        raise ValueError("all probabilities are 0; there is nothing to draw")
    upto = probability.double().cumsum(0)
    at = torch.searchsorted(upto, u.double() * upto[-1], right=True)
    last = int((probability > 0).nonzero()[-1])  # where rounding passes the end
    return at.clamp(max=last)
