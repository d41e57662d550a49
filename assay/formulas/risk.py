"""Scores of a return's distribution in place of its mean: value at risk by ranges, and quantiles.

A risk functional of rewards R has a policy gradient like that of the mean, E[h(R)·∇log π], with a
score h(R) that depends on quantiles q_a < q_b of R. No gradient passes through it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def tail_score(
    reward: Float[Tensor, "*S"], *, quantile: float, level: float
) -> Float[Tensor, "*S"]:
    """Score of the tail's mean, the conditional value at risk: h = −(q_a − R)⁺/a.

    E[h(R)·∇log π] is the gradient of (1/a)·∫₀^a F⁻¹(u) du, whatever constant is added to h.

    Args:
        reward: R `[*S]`.
        quantile: q_a, the a-quantile of R.
        level: a, in (0, 1].

    Returns:
        `[*S]`, never above 0, in units of R.

    Source: Ren et al., "RiskPO", arXiv:2510.00911, 2025.
    """
    return -(quantile - reward).clamp(min=0) / level


@torch.no_grad()
def range_score(
    reward: Float[Tensor, "*S"],
    *,
    quantiles: tuple[float, float],
    levels: tuple[float, float],
    natural: bool = True,
) -> Float[Tensor, "*S"]:
    """Score of the mean between two quantiles: h = ((R − q_a)⁺ − (R − q_b)⁺ + (q_a − q_b))/(b − a).

    E[h(R)·∇log π] is the gradient of (1/(b − a))·∫_a^b F⁻¹(u) du, whatever constant is added to h.

    Args:
        reward: R `[*S]`.
        quantiles: (q_a, q_b).
        levels: (a, b), 0 ≤ a < b ≤ 1.
        natural: Include the constant q_a − q_b. With it every score is at most 0 (and 0 from q_b
            on); without it at least 0.

    Returns:
        `[*S]` in units of R.

    Source: Ren et al., "RiskPO", arXiv:2510.00911, 2025.
    """
    (low, high), (a, b) = quantiles, levels
    above = (reward - low).clamp(min=0) - (reward - high).clamp(min=0)
    return (above + (low - high if natural else 0.0)) / (b - a)


def mixed_score(
    reward: Float[Tensor, "*S"],
    *,
    quantiles: tuple[float, float],
    levels: tuple[float, float] = (0.2, 0.8),
    omega: float = 1.5,
    natural: bool = True,
) -> Float[Tensor, "*S"]:
    """Score of the mixed value at risk: (ω·tail + range)/(1 + ω).

    Args:
        reward: R `[*S]`.
        quantiles: (q_a, q_b) of R.
        levels: (a, b), 0 < a < b ≤ 1.
        omega: ω, weight of the lower tail, at least 0.
        natural: See `range_score`.

    Returns:
        `[*S]` in units of R.

    Raises:
        ValueError: The levels or ω are out of range.

    Source: Ren et al., "RiskPO", arXiv:2510.00911, 2025.
    """
    a, b = levels
    if not (0 < a < b <= 1 and omega >= 0):
        raise ValueError(
            f"the levels are {a} and {b} and omega {omega}; give 0 < a < b ≤ 1 and omega ≥ 0"
        )
    tail = tail_score(reward, quantile=quantiles[0], level=a)
    between = range_score(reward, quantiles=quantiles, levels=levels, natural=natural)
    return (omega * tail + between) / (1 + omega)


def quantile_step(
    reward: Float[Tensor, "n"], *, quantile: float, level: float, rate: float = 0.1
) -> float:
    """Move an estimate of a quantile by stochastic approximation: q + γ·(s − mean 1[R < q]).

    It rests where a share s of the rewards lies below q. γ is in units of the reward.

    Args:
        reward: Rewards R `[n]`; none of them change nothing.
        quantile: q.
        level: s.
        rate: γ.

    Returns:
        The new q.

    Source: Ren et al., "RiskPO", arXiv:2510.00911, 2025.
    """
    if not len(reward):
        return quantile
    return quantile + rate * (level - float((reward < quantile).double().mean()))
