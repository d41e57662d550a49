"""Shares, also of comparisons that fall into clusters: intervals that never shrink to a point."""

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


def exact_share(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a probability that covers it at least at this level, whatever it is.

    Its ends are the probabilities at which so many hits, or more, and so many, or fewer, have the
    chance (1 − level)/2.

    Args:
        hits: Observations that are true.
        n: All independent observations, at least 1; fixed before any was seen.
        level: The interval's level.

    Returns:
        (low, high); low is 0 without a hit and high is 1 without a miss.

    Source: Clopper and Pearson (1934), The use of confidence or fiducial limits illustrated in the
        case of the binomial.

    Example:
        >>> [round(x, 3) for x in exact_share(30, 30, 0.99)]
        [0.838, 1.0]
    """
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def share_at_any_time(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of a probability that holds after every observation at once.

    A probability p is outside as soon as p^hits·(1−p)^(n−hits) is less than 1 − level of its mean
    over all p from 0 to 1. That quotient's inverse is a martingale under p, so p is ever outside
    with a chance of at most 1 − level, however often one looks.

    Args:
        hits: Observations that are true.
        n: All observations so far.
        level: The interval's level.

    Returns:
        (low, high), wider than `exact_share`.

    Source: Ville (1939), Étude critique de la notion de collectif; Robbins (1970), Statistical
        methods related to the law of the iterated logarithm.

    Example:
        >>> [round(x, 3) for x in share_at_any_time(30, 30, 0.99)]
        [0.765, 1.0]
    """
    from scipy.optimize import brentq
    from scipy.special import betaln, xlog1py, xlogy

    least = float(betaln(hits + 1, n - hits + 1)) + math.log1p(-level)

    def inside(p: float) -> float:
        return float(xlogy(hits, p) + xlog1py(n - hits, -p)) - least

    middle, tiny = hits / n, 1e-300
    low = brentq(inside, tiny, middle) if hits and inside(tiny) < 0 else 0.0
    high = brentq(inside, middle, 1 - 1e-16) if hits < n and inside(1 - 1e-16) < 0 else 1.0
    return float(low), float(high)


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
