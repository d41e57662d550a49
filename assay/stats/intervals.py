"""Student's t: its quantiles, its probabilities, and the interval of a mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def within(t: float, df: int) -> float:
    """Return P(|T| ≤ t) for Student's T.

    Args:
        t: The bound, at least 0.
        df: Degrees of freedom, at least 1.

    Returns:
        The probability.

    Example:
        >>> round(within(12.706, 1), 3)
        0.95
    """
    from scipy.special import stdtr

    return float(2 * stdtr(df, t) - 1)


def student(df: int, level: float = 0.95) -> float:
    """Return the two-sided quantile of Student's T: the t with P(|T| ≤ t) = level.

    Args:
        df: Degrees of freedom, at least 1.
        level: The probability, between 0 and 1.

    Returns:
        The quantile.

    Example:
        >>> round(student(10), 3)
        2.228
    """
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float | None]:
    """Return a mean and the half-width of its Student interval.

    Args:
        values: Independent values; at least one.
        level: The interval's level.

    Returns:
        (mean, half-width); the half-width of a single value is None.

    Example:
        >>> mean, half = interval([1.0, 3.0])
        >>> mean, round(half, 3)
        (2.0, 12.706)
    """
    a = np.asarray(values, dtype=float)
    half = None
    if len(a) > 1:
        half = student(len(a) - 1, level) * float(a.std(ddof=1)) / math.sqrt(len(a))
    return float(a.mean()), half


def bounds(
    values: Sequence[float], level: float = 0.95
) -> tuple[float | None, float | None, float | None]:
    """Return a mean and the ends of its Student interval.

    Args:
        values: Independent values.
        level: The interval's level.

    Returns:
        (mean, low, high); (None, None, None) of no values, (mean, None, None) of one.

    Example:
        >>> bounds([])
        (None, None, None)
    """
    if not len(values):
        return None, None, None
    mean, half = interval(values, level)
    return (mean, None, None) if half is None else (mean, mean - half, mean + half)


def detectable(spread: float, n: int, *, level: float = 0.95, power: float = 0.8) -> float:
    """Return how far above a bound a true mean must lie to be seen there.

    The distance at which the lower end of the mean's Student interval lies above the bound with
    probability `power`, by the noncentral t distribution.

    Args:
        spread: Standard deviation of the values.
        n: How many values; at least two.
        level: The interval's level.
        power: The probability.

    Example:
        >>> round(detectable(1.0, 5), 2)
        1.68
    """
    from scipy.optimize import brentq
    from scipy.stats import nct

    t = student(n - 1, level)
    shift = brentq(lambda d: float(nct.sf(t, n - 1, d)) - power, 0.0, 10.0 * t + 10.0)
    return float(shift) * spread / math.sqrt(n)
