"""Shares of comparisons that fall into clusters, with intervals that never shrink to a point."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.intervals import student


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval.

    Attributes:
        mean: The share, from 0 to 1.
        low: Lower end of the interval; None where one cluster alone was seen.
        high: Upper end of the interval.
        n: Comparisons.
        clusters: Independent clusters of comparisons, for example prompts.

    Example:
        >>> print(Share(0.75, 0.6, 0.86, 40, 40))
        0.750 [0.600, 0.860]
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    clusters: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(share: float, n: float, t: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's score interval of a share.

    (s + t²/2n ± t·√(s(1−s)/n + t²/4n²)) / (1 + t²/n)

    Args:
        share: The share s that was seen.
        n: The number of independent observations; an effective number need not be whole.
        t: The quantile, by default the normal one of 95 %.

    Returns:
        (low, high), inside 0 and 1.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.

    Example:
        >>> [round(x, 3) for x in wilson(1.0, 20)]
        [0.839, 1.0]
    """
    middle = share + t * t / (2 * n)
    half = t * math.sqrt(share * (1 - share) / n + t * t / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + t * t / n) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def clustered_share(
    right: ArrayLike, cluster: ArrayLike, weight: ArrayLike | None = None, level: float = 0.95
) -> Share | None:
    """Return a weighted share and its Wilson interval at the effective number of observations.

    With ŝ = Σwr/Σw, the linearised variance is v = G/(G−1)·Σ_g(Σ_{i∈g} w(r−ŝ))²/(Σw)² over the G
    clusters, and the interval is Wilson's with n = ŝ(1−ŝ)/v and Student's quantile of G−1 degrees
    of freedom. n is at most (Σw)²/Σw². Where every observation agrees, v says nothing, and n is the
    effective number of clusters.

    Args:
        right: Each observation: 1, 0, or ½ for a tie.
        cluster: The cluster of each observation.
        weight: The weight of each observation; 1 by default.
        level: The interval's level.

    Returns:
        The share; None of no observations.

    Source: Kott and Carr (1997), Developing an estimation strategy for a pesticide data program;
        Korn and Graubard (1998), Confidence intervals for proportions with small expected number
        of positive counts estimated from survey data.

    Example:
        >>> print(clustered_share([1, 1, 1, 0], [0, 1, 2, 3]))
        0.750 [0.131, 0.984]
    """
    r = np.asarray(right, dtype=float)
    if not len(r):
        return None
    w = np.ones_like(r) if weight is None else np.asarray(weight, dtype=float)
    names, at = np.unique(np.asarray(cluster), return_inverse=True)
    total, G = float(w.sum()), len(names)
    mean = min(1.0, max(0.0, float((w * r).sum() / total)))
    if G == 1:
        return Share(mean, None, None, len(r), 1)
    error = np.bincount(at, w * (r - mean))
    v = G / (G - 1) * float((error**2).sum()) / total**2
    if mean in (0.0, 1.0):
        n = _kish(np.bincount(at, w).astype(float))
    else:
        most = _kish(w)
        n = most if v == 0 else min(most, mean * (1 - mean) / v)
    low, high = wilson(mean, n, student(G - 1, level))
    return Share(mean, low, high, len(r), G)


def _kish(weight: NDArray[np.float64]) -> float:
    """The effective number (Σw)²/Σw²."""
    return float(weight.sum() ** 2 / (weight**2).sum())
