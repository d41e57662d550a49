"""Changes in a short series of numbers, against its own beginning."""

from __future__ import annotations

import math
from collections.abc import Sequence


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation of a whole population.

    Args:
        values: The population.

    Returns:
        √(Σ(x − mean)²/n); None for fewer than two values.

    Example:
        >>> spread([1.0, 3.0])
        1.0
    """
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((x - mean) ** 2 for x in values) / len(values))


def against_start(series: Sequence[float], first: int) -> tuple[float, float] | None:
    """The last value of a series and the mean of its first ones.

    Args:
        series: The values in order.
        first: How many of them are its beginning.

    Returns:
        (last, mean of the first); None where nothing follows the beginning.

    Example:
        >>> against_start([1.0, 3.0, 5.0], first=2)
        (5.0, 2.0)
    """
    if len(series) <= first:
        return None
    return series[-1], sum(series[:first]) / first


def slopes(points: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The slope over the last two intervals of a series, and over the two before.

    Args:
        points: (x, y) in order of x.

    Returns:
        (last, before); None for fewer than five points, or where x stands still.

    Example:
        >>> slopes([(0, 0.0), (1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0)])
        (2.0, 1.0)
    """
    if len(points) < 5:
        return None
    (x0, y0), _, (x2, y2), _, (x4, y4) = points[-5:]
    if x4 == x2 or x2 == x0:
        return None
    return (y4 - y2) / (x4 - x2), (y2 - y0) / (x2 - x0)
