"""The delete-one jackknife over clusters: an interval for any smooth function of sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.intervals import student

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A number with its interval.

    Attributes:
        mean: The estimate; None where it cannot be computed.
        low: Lower end of the interval; None where one cluster alone was seen.
        high: Upper end of the interval.
        clusters: Independent clusters, for example prompts.

    Example:
        >>> print(Interval(0.5, 0.25, 0.75, 40))
        +0.50 [+0.25, +0.75]
    """

    mean: float | None
    low: float | None
    high: float | None
    clusters: int

    def __str__(self) -> str:
        if self.mean is None:
            return "–"
        if self.low is None or self.high is None:
            return f"{self.mean:+.2f}"
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def jackknifed(
    sums: ArrayLike,
    function: Callable[[Array], Array],
    level: float = 0.95,
    df: int | None = None,
) -> Interval:
    """Return f(Σ_g S_g) and its jackknife interval, which counts each cluster once.

    v = (G−1)/G · Σ_g (θ₍g₎ − θ̄)²,  θ₍g₎ = f(Σ_h S_h − S_g),  θ̂ ± t_{df}·√v

    Args:
        sums: What each of the G clusters adds to each of K sums, `[G, K]`.
        function: From sums `[…, K]` to numbers `[…]`; smooth near the sums that occur.
        level: The interval's level.
        df: Degrees of freedom of Student's t, where few clusters decide; G−1 by default.

    Returns:
        The estimate. It is None where f is not finite; the ends are None where f without one
        cluster is not finite, or where there is one cluster.

    Source: Miller (1974), The jackknife: a review, Biometrika 61, section 2; Tukey (1958).

    Example:
        >>> ratio = lambda s: s[..., 0] / s[..., 1]
        >>> print(jackknifed([[1, 2], [2, 4], [3, 5]], ratio))
        +0.55 [+0.36, +0.73]
    """
    s = np.asarray(sums, dtype=float)
    G = len(s)
    if not G:
        return Interval(None, None, None, 0)
    total = s.sum(0)
    with np.errstate(all="ignore"):  # what is not finite is None
        whole = float(function(total))
        without = np.asarray(function(total - s), dtype=float)
    if not math.isfinite(whole):
        return Interval(None, None, None, G)
    free = G - 1 if df is None else df
    if free < 1 or not np.isfinite(without).all():
        return Interval(whole, None, None, G)
    v = (G - 1) / G * float(((without - without.mean()) ** 2).sum())
    half = student(free, level) * math.sqrt(v)
    return Interval(whole, whole - half, whole + half, G)
