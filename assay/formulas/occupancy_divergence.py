"""Divergences between occupancies μ and μ₀ `[*b, S, A]`, and what they say of a proxy's gain."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def occupancy_ratio(
    mu: Float[Tensor, "*b S A"], base: Float[Tensor, "*b S A"]
) -> Float[Tensor, "*b S A"]:
    """Ratio of two occupancies: w = μ/μ₀, and 1 where neither has mass.

    Args:
        mu: μ `[*b, S, A]`.
        base: μ₀ `[*b, S, A]`.

    Returns:
        w `[*b, S, A]`.

    Raises:
        ValueError: μ has mass where μ₀ has none.
    """
    empty = base <= 0
    if bool((mu[empty.expand_as(mu)] > 0).any()):
        raise ValueError(
            "the policy visits state-actions that the base policy never visits, so that no "
            "divergence from it is finite"
        )
    return torch.where(
        empty, torch.ones_like(mu), mu / torch.where(empty, torch.ones_like(base), base)
    )


def chi_squared(mu: Float[Tensor, "*b S A"], base: Float[Tensor, "*b S A"]) -> Float[Tensor, "*b"]:
    """χ² divergence of two occupancies: χ²(μ‖μ₀) = Σ μ·(μ/μ₀ − 1).

    Its gradient is 2·Σ w·∇μ: w − 1 as a *reward* gives half of it.

    Args:
        mu: μ `[*b, S, A]`.
        base: μ₀ `[*b, S, A]`.

    Returns:
        `[*b]`.

    Raises:
        ValueError: μ has mass where μ₀ has none.
    """
    return (mu * (occupancy_ratio(mu, base) - 1)).sum((-2, -1)).clamp(min=0)


def occupancy_kl(mu: Float[Tensor, "*b S A"], base: Float[Tensor, "*b S A"]) -> Float[Tensor, "*b"]:
    """KL divergence of two occupancies, which is not that of their trajectories: Σ μ·log(μ/μ₀).

    Args:
        mu: μ `[*b, S, A]`.
        base: μ₀ `[*b, S, A]`.

    Returns:
        `[*b]` in nats.

    Raises:
        ValueError: μ has mass where μ₀ has none.
    """
    return torch.special.xlogy(mu, occupancy_ratio(mu, base)).sum((-2, -1)).clamp(min=0)


def correlation(
    a: Float[Tensor, "S A"], b: Float[Tensor, "S A"], base: Float[Tensor, "S A"]
) -> Float[Tensor, ""]:
    """Pearson's correlation of two rewards under an occupancy.

    Args:
        a: Rewards `[S, A]`.
        b: Rewards `[S, A]`.
        base: μ₀ `[S, A]`.

    Returns:
        A scalar.

    Raises:
        ValueError: A reward is constant where μ₀ has mass.
    """
    whole, base = (base * a.square()).sum() * (base * b.square()).sum(), base / base.sum()
    a, b = (x - (base * x).sum() for x in (a, b))
    spread = (base * a.square()).sum() * (base * b.square()).sum()
    if not bool(
        spread > 4 * torch.finfo(base.dtype).eps ** 2 * whole
    ):  # what rounding leaves of a constant's variance
        raise ValueError(
            "a reward is constant where the base policy goes: it has no correlation with anything"
        )
    return (base * a * b).sum() / spread.sqrt()


def gain_bound(
    gain: Float[Tensor, "*b"], chi2: Float[Tensor, "*b"], *, r: float
) -> Float[Tensor, "*b"]:
    """Lower bound on the true gain of a proxy's gain: Δ* ≥ (Δ̃ − √((1−r²)·χ²))/r.

    Args:
        gain: The proxy's gain E_μ − E_μ₀ in standard deviations under μ₀ `[*b]`.
        chi2: χ²(μ‖μ₀) `[*b]`.
        r: Correlation of the two rewards under μ₀, in (0, 1].

    Returns:
        `[*b]` in standard deviations.

    Raises:
        ValueError: r is outside (0, 1].

    Source: Laidlaw et al., arXiv:2403.03185, 2024, theorem 5.1.
    """
    if not 0 < r <= 1:
        raise ValueError(f"r is {r}; the bound is about proxies of positive correlation, at most 1")
    return (gain - ((1 - r**2) * chi2).clamp(min=0).sqrt()) / r


def sharp_gain_bound(
    gain: Float[Tensor, "*b"], chi2: Float[Tensor, "*b"], *, r: float
) -> Float[Tensor, "*b"]:
    """The least true gain of a proxy's gain, never below `gain_bound`: r·Δ̃ − √((1−r²)·(χ² − Δ̃²)).

    Write w − 1 = Δ̃·R̃ + u with u ⊥ 1, R̃ and E_μ₀ u² = χ² − Δ̃²; then R = r·R̃ + √(1−r²)·v with a
    unit vector v ⊥ R̃, and Cauchy–Schwarz bounds E_μ₀[u·v].

    Args:
        gain: The proxy's gain in standard deviations under μ₀ `[*b]`.
        chi2: χ²(μ‖μ₀) `[*b]`.
        r: Correlation of the two rewards under μ₀, in (0, 1].

    Returns:
        `[*b]` in standard deviations.

    Raises:
        ValueError: r is outside (0, 1].
    """
    if not 0 < r <= 1:
        raise ValueError(f"r is {r}; the bound is about proxies of positive correlation, at most 1")
    return r * gain - ((1 - r**2) * (chi2 - gain.square()).clamp(min=0)).sqrt()
