"""Confidence sequences: intervals that hold at all times at once, for any rule that stops labeling.

Outcomes lie in [0, 1], for `student` anywhere. The sequences for a mean assume that every outcome
has the same mean given the past. `average` does not: it covers the average of the outcomes' means.
Those for outcomes in [0, 1] are inverted on a grid of 1,000 candidate means and rounded outwards.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

GRID = 1000
TILTS = (
    0.05,
    0.1,
    0.2,
    0.35,
    0.6,
    1.0,
    1.6,
)  # log-odds, of either sign: a mixture good from 20 to 10,000 outcomes


def hedged(
    x: Float[Tensor, "n"],
    *,
    alpha: float,
    control: Float[Tensor, "n"] | None = None,
    c: Float[Tensor, "n"] | None = None,
) -> tuple[float, float]:
    """Hedged-capital confidence sequence for a mean.

    K(m) = ½·Π(1 + λ_t·(y_t − m)) + ½·Π(1 − λ_t·(y_t − m)); all m with K(m) < 1/α
    λ_t = √(2·log(2/α)/(v_{t−1}·t·log(1 + t))), cut where a pay could reach 0

    With y = x − c·u it is prediction-powered. The running intersection is returned.

    Args:
        x: Outcomes `[n]`, in order.
        alpha: Probability α that the sequence ever misses the mean.
        control: Control variates u `[n]` in [−1, 1] with mean 0.
        c: Their slopes `[n]`, each fixed before its outcome.

    Returns:
        The ends of the interval after n outcomes.

    Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting",
        arXiv:2010.09686, 2024, theorem 3.
    """
    n = len(x)
    slope = x.new_zeros(n) if control is None or c is None else c
    y = x if control is None else x - slope * control
    m = torch.linspace(0, 1, GRID + 1, dtype=torch.float64)
    up, down = torch.zeros_like(m), torch.zeros_like(m)
    total, square, inside = 0.5, 0.25, torch.ones_like(m, dtype=torch.bool)
    for t in range(1, n + 1):
        variance = max(square / t, 1e-4)
        lam = math.sqrt(2 * math.log(2 / alpha) / (variance * t * math.log1p(t)))
        room = float(slope[t - 1].abs())
        value = float(y[t - 1])
        up = up + torch.log1p((0.5 / (m + room)).clamp(max=lam) * (value - m))
        down = down + torch.log1p((0.5 / (1 - m + room)).clamp(max=lam) * (m - value))
        inside &= torch.logaddexp(up, down) - math.log(2) < math.log(1 / alpha)
        total += value
        square += (value - total / (t + 1)) ** 2
    return _ends(m, inside)


def empirical_bernstein(x: Float[Tensor, "n"], *, alpha: float) -> tuple[float, float]:
    """Predictable plug-in empirical Bernstein confidence sequence for a mean.

    Σλx/Σλ ± (log(2/α) + Σ 4·(x − μ̂)²·ψ(λ))/Σλ,  ψ(λ) = (−log(1 − λ) − λ)/4

    μ̂ and the variance in λ come from earlier outcomes. The running intersection is returned.

    Args:
        x: Outcomes `[n]`, in order.
        alpha: Probability α that the sequence ever misses the mean.

    Returns:
        The ends of the interval after n outcomes.

    Source: Waudby-Smith & Ramdas, arXiv:2010.09686, 2024, theorem 2.
    """
    low, high, total, square = 0.0, 1.0, 0.5, 0.25
    lams = centre = width = 0.0
    for t, value in enumerate(x.tolist(), 1):
        lam = min(
            math.sqrt(2 * math.log(2 / alpha) / (max(square / t, 1e-4) * t * math.log1p(t))), 0.5
        )
        lams, centre = lams + lam, centre + lam * value
        width += (value - total / t) ** 2 * (-math.log1p(-lam) - lam)
        total += value
        square += (value - total / (t + 1)) ** 2
        half = (math.log(2 / alpha) + width) / lams
        low, high = max(low, centre / lams - half), min(high, centre / lams + half)
    return (low, high) if low <= high else ((low + high) / 2,) * 2


def average(
    total: Float[Tensor, "*R"], n: Float[Tensor, "*R"], *, log_level: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Interval for the average of the means of n outcomes, which may differ.

    M(m) = mean over λ of exp(λ·total)/(1 − m + m·e^λ)^n; all m with M(m) < 1/α

    log(1 − m + m·e^λ) is concave in m, so that outcomes with different means give less than this at
    their average: a win rate can fall while it is measured.

    Args:
        total: Sum of the outcomes `[*R]`.
        n: Outcomes `[*R]`.
        log_level: log(1/α).

    Returns:
        Lower and upper end, both `[*R]`.

    Source: Howard et al., "Time-uniform Chernoff bounds via nonnegative supermartingales",
        arXiv:1808.03204, 2020.
    """
    m = torch.linspace(0, 1, GRID + 1, dtype=torch.float64)
    lam = torch.tensor([s * t for t in TILTS for s in (-1.0, 1.0)], dtype=torch.float64)
    one = torch.log1p(m[:, None] * torch.expm1(lam))  # [grid, tilts]
    logs = total.double()[..., None, None] * lam - n.double()[..., None, None] * one
    inside = (
        torch.logsumexp(logs, -1) - math.log(len(lam))
        < torch.as_tensor(log_level, dtype=torch.float64)[..., None]
    )
    held = torch.where(inside, m, torch.nan)
    low, high = torch.nan_to_num(held, nan=2.0).amin(-1), torch.nan_to_num(held, nan=-1.0).amax(-1)
    return (low - 1 / GRID).clamp(0, 1), (high + 1 / GRID).clamp(0, 1)


def student(x: Float[Tensor, "n"], *, alpha: float, g: float = 1.0) -> tuple[float, float]:
    """Confidence sequence for the mean of normal outcomes of unknown spread; not bounded.

    E(m) = (1 + ng)^−½·((1 + t²/(n−1))/(1 + t²/((n−1)(1 + ng))))^(n/2),  t = √n(x̄ − m)/s
    all m with E(m) < 1/α, which is t² < (n−1)·(k − 1)/(1 − k/(1 + ng)), k = ((1 + ng)/α²)^(1/n)

    E(m) is the likelihood ratio of the t statistic with a normal prior of variance g on the mean in
    units of the spread. It is an e-process in n, so that the interval may be looked at after every
    outcome. It is the interval after n outcomes, not the running intersection.

    Args:
        x: Outcomes `[n]`, in order.
        alpha: Probability α that the sequence ever misses the mean.
        g: Variance of the prior; 1 is best for effects of about one spread.

    Returns:
        The ends; infinite while n is too small to exclude anything.

    Source: Pérez-Ortiz, Lardy, de Heide & Grünwald, "E-statistics, group invariance and anytime
        valid testing", arXiv:2208.07610, 2024; Wang & Ramdas, "Anytime-valid t-tests and confidence
        sequences for Gaussian means with unknown variance", arXiv:2310.03722, 2024.

    Example:
        >>> low, high = student(torch.tensor([1.0, 1.2, 0.9, 1.1, 1.0, 0.8]), alpha=0.05)
        >>> low < 1 < high
        True
    """
    n = len(x)
    k = math.exp((math.log1p(n * g) - 2 * math.log(alpha)) / n) if n else math.inf
    if n < 2 or k >= 1 + n * g:
        return -math.inf, math.inf
    t = math.sqrt((n - 1) * (k - 1) / (1 - k / (1 + n * g)))
    half = t * float(x.std()) / math.sqrt(n)
    return float(x.mean()) - half, float(x.mean()) + half


def _ends(m: Tensor, inside: Tensor) -> tuple[float, float]:
    """The outermost candidates that are left, one step outwards; the middle where none is (the
    assumption was wrong).
    """
    left = m[inside]
    if not len(left):
        return 0.5, 0.5
    return max(0.0, float(left[0]) - 1 / GRID), min(1.0, float(left[-1]) + 1 / GRID)
