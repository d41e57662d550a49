"""Power laws y = floor + scale·x^−exponent, and slopes against log x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PowerLaw:
    """y = floor + scale·x^−exponent; `law(x)` evaluates it.

    Attributes:
        scale: The scale.
        exponent: The exponent.
        floor: What y tends to.
        r2: R² of log(y − floor) against log x, over all points with the fitted line.
        held_out: |log predicted − log found| of (y − floor) at the largest x, which is not fitted.
        stays: The same by no law: y stays where it was at the second largest x.
        points: The number of points.
    """

    scale: float
    exponent: float
    floor: float
    r2: float
    held_out: float
    stays: float
    points: int

    def __call__(self, x: Array) -> Array:
        return np.asarray(self.floor + self.scale * x**-self.exponent)


def power_law(
    x: Sequence[float], y: Sequence[float], *, floor: float | None = None
) -> PowerLaw | None:
    """Fit a power law by least squares in logarithms to all points but that of the largest x.

    Args:
        x: Where y was measured, above 0.
        y: What was measured.
        floor: What y tends to, where it is known (the entropy of the labels). None fits it too: of
            400 values from 0 to just below the least y, the one with the least squared error in y.

    Returns:
        The law; None where fewer than four points are left to fit, or one of them is not above the
        floor.
    """
    order = np.argsort(np.asarray(x, dtype=float), kind="stable")
    a, b = np.asarray(x, dtype=float)[order], np.asarray(y, dtype=float)[order]
    if len(a) < 5 or not (a > 0).all() or not np.isfinite(b).all():
        return None
    tried = [floor]
    if floor is None:
        tried = list(np.linspace(0.0, 1.0, 400, endpoint=False) * float(b.min()))
    found = [law for f in tried if f is not None and (law := _log_line(a, b, f)) is not None]
    return min(found, key=lambda law: float(np.mean((law(a[:-1]) - b[:-1]) ** 2)), default=None)


def _log_line(x: Array, y: Array, floor: float) -> PowerLaw | None:
    if not (y > floor).all():
        return None
    u, v = np.log(x), np.log(y - floor)
    slope, height = np.polyfit(u[:-1], v[:-1], 1)
    left = v - (height + slope * u)
    total = float(np.sum((v - v.mean()) ** 2))
    r2 = 1 - float(np.sum(left**2)) / total if total > 0 else 0.0
    scale, missed, stays = float(np.exp(height)), abs(float(left[-1])), abs(float(v[-1] - v[-2]))
    return PowerLaw(scale, -float(slope), float(floor), r2, missed, stays, len(x))


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the least-squares slope of y against log x: the gain where x grows e-fold."""
    return float(np.polyfit(np.log(np.asarray(x, dtype=float)), np.asarray(y, dtype=float), 1)[0])
