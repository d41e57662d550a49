"""Laws of a loss against the number of pairs, compared by what they predict beyond the fit.

    power         y = E + a·x^−b
    exponential   y = E + a·exp(−x/τ)
    logarithm     y = a − b·log x
    constant      y = a

All are fitted to the same points with the same weights. A high R² on the points of the fit does not
tell them apart; the error at sizes that were not fitted does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.float64]
Numbers = Sequence[float] | Array
LAWS = ("power", "exponential", "logarithm", "constant")
_RATES = 600  # values of the one parameter that a law is not linear in


@dataclass(frozen=True)
class Law:
    """A fitted law; `law(x)` evaluates it.

    Attributes:
        name: One of `LAWS`.
        floor: E, what y tends to; 0 for logarithm and constant.
        scale: a.
        rate: b of a power or a logarithm, 1/τ of an exponential, 0 of a constant.
    """

    name: str
    floor: float
    scale: float
    rate: float

    def __call__(self, x: Numbers) -> Array:
        at = np.asarray(x, dtype=float)
        if self.name == "logarithm":
            return np.asarray(self.scale - self.rate * np.log(at))
        return np.asarray(self.floor + self.scale * _shape(self.name, at, self.rate))


def _shape(name: str, x: Array, rate: float) -> Array:
    if name == "constant":
        return np.ones_like(x)
    return np.asarray(x**-rate if name == "power" else np.exp(-x * rate))


def fitted_law(name: str, x: Numbers, y: Numbers, *, floor: float | None = None) -> Law:
    """Fit a law by least squares of relative residuals.

    The residual of a point is divided by y − floor where the floor is known, else by y. The rate is
    the best of 600 values, and all else is linear and solved exactly, with a ≥ 0 and E ≥ 0.

    Args:
        name: One of `LAWS`.
        x: Where y was measured, above 0; at least three different ones.
        y: What was measured.
        floor: E where it is known (the entropy of the labels); None fits it too.

    Returns:
        The law.

    Raises:
        ValueError: There are too few points, or one is not above the floor.
    """
    at, found = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    known = 0.0 if floor is None else floor
    if len(np.unique(at)) < 3 or not (at > 0).all():
        raise ValueError("a law is fitted to three sizes above 0 at least")
    if not (np.isfinite(found).all() and (found > known).all()):
        raise ValueError(f"a loss is not above its floor of {known:.4f}")
    w = 1 / (found - known)
    if name == "logarithm":
        columns = np.stack([np.ones_like(at), -np.log(at)], 1)
        a, b = np.linalg.lstsq(columns * w[:, None], found * w, rcond=None)[0]
        return Law(name, 0.0, float(a), float(b))
    if name == "constant":
        return Law(name, 0.0, float(np.sum(w**2 * found) / np.sum(w**2)), 0.0)
    low, high = (0.01, 3.0) if name == "power" else (0.01 / at.max(), 3 / at.min())
    rates = np.geomspace(low, high, _RATES)
    best: tuple[float, Law] | None = None
    for rate in rates:
        shape = _shape(name, at, float(rate)) * w
        if floor is None:
            (e, a), left = nnls(np.stack([w, shape], 1), found * w)
        else:
            e, size = floor, float(shape @ shape)
            a = float(shape @ ((found - floor) * w)) / size if size > 0 else 0.0
            left = float(np.linalg.norm((found - floor) * w - a * shape))
        if best is None or left < best[0]:
            best = left, Law(name, float(e), float(a), float(rate))
    assert best is not None
    return best[1]


def extrapolation_errors(
    x: Numbers, y: Numbers, *, held_out: int = 2, floor: float | None = None
) -> dict[str, float]:
    """Fit every law to all sizes but the largest ones, and test it there.

    Args:
        x: Sizes, each once.
        y: The loss at each.
        held_out: How many of the largest sizes are not fitted.
        floor: See `fitted_law`.

    Returns:
        By law, the mean over the held-out sizes of |predicted − found|, in the unit of y.

    Raises:
        ValueError: See `fitted_law`.
    """
    order = np.argsort(np.asarray(x, dtype=float), kind="stable")
    at, found = np.asarray(x, dtype=float)[order], np.asarray(y, dtype=float)[order]
    fit, test = slice(None, len(at) - held_out), slice(len(at) - held_out, None)
    laws = {name: fitted_law(name, at[fit], found[fit], floor=floor) for name in LAWS}
    return {k: float(np.abs(law(at[test]) - found[test]).mean()) for k, law in laws.items()}


def slope(x: Numbers, y: Numbers) -> float:
    """Return the least-squares slope of y against log x: the gain where x grows e-fold."""
    return float(np.polyfit(np.log(np.asarray(x, dtype=float)), np.asarray(y, dtype=float), 1)[0])
