"""The regression of a policy gradient's turning point on how members part, and its interval."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.errors import InputError

Array = NDArray[np.float64]
FEATURES = ("kept", "growth")


def features(d: Array, chooser: Array, others: Array, spread: Array) -> Array:
    """Compute what the prediction reads, along a new last axis.

    kept: the others' gain over the later half of the doublings by the chooser's; the correlation of
    members where they are jointly normal, less where they part. growth: log of the members' spread
    at the end by that at the beginning; it grows as the chooser's score runs ahead of the others'.

    Args:
        d: √KL `[K]`, from n = 1.
        chooser: `[..., K]` gain by the member that chose.
        others: `[..., K]` gain by the others.
        spread: `[..., K]` the members' deviation on the chosen completion.

    Returns:
        `[..., 2]`, in the order of FEATURES.

    Example:
        >>> d = np.linspace(0.0, 2.0, 9)
        >>> features(d, 1.5 * d, d * (2.0 - 0.5 * d), 1.0 + d).round(2).tolist()
        [0.33, 1.1]
    """
    half = len(d) // 2
    with np.errstate(all="ignore"):
        kept = (others[..., -1] - others[..., half]) / (chooser[..., -1] - chooser[..., half])
        return np.stack([kept, np.log(spread[..., -1] / spread[..., 0])], -1)


@dataclass(frozen=True)
class Calibration:
    """log √KL at the turn = intercept + Σ weight·(feature − centre)/scale, and its errors.

    Attributes:
        names: The F features.
        centre: Mean of each `[F]`.
        scale: Standard deviation of each `[F]`.
        weight: `[F]`.
        intercept: Mean of log √KL at the turn, as far as it was seen.
        errors: Measured minus predicted log √KL, the lower and the upper end of the interval.
        level: Nominal coverage of the interval.
        least: The least of each feature among the runs `[F]`.
        most: The largest `[F]`.
        horizon: The largest √KL of the runs.
        runs: How many runs.
        turned: How many of them turned.
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    weight: tuple[float, ...]
    intercept: float
    errors: tuple[float, float]
    level: float
    least: tuple[float, ...]
    most: tuple[float, ...]
    horizon: float
    runs: int
    turned: int

    def log_d(self, x: Array) -> Array:
        """Predict log √KL of the turn from features `[..., F]`."""
        shifted = (x - np.array(self.centre)) / np.array(self.scale)
        return np.asarray(self.intercept + shifted @ np.array(self.weight))

    def interval(self, x: Array) -> tuple[Array, Array]:
        """Return the ends of the interval of √KL at the turn, for features `[..., F]`."""
        log_d = self.log_d(x)
        return np.exp(log_d + self.errors[0]), np.exp(log_d + self.errors[1])


def calibrate(
    x: Array,
    d: Array,
    turned: NDArray[np.bool_],
    groups: Sequence[Hashable],
    *,
    names: Sequence[str] = FEATURES,
    level: float = 0.8,
) -> Calibration:
    """Fit the regression to runs, and its interval to its errors on groups it did not see.

    The errors are normal and a run that did not turn says that its turning point lies beyond its
    last reading (a Tobit regression), so runs that end early do not bias it. Ends of the interval
    are conformal: of n errors, each on a group that was left out, the (n + 1)(1 ± level)/2-th in
    order. A run that did not turn counts as covered where the interval reaches its end.

    Args:
        x: Features `[R, F]`.
        d: √KL where each run turned, or where it ended `[R]`.
        turned: Whether it turned `[R]`.
        groups: What is left out together, such as the kind of world; at least two.
        names: Of the features.
        level: Nominal coverage of the interval.

    Raises:
        InputError: Fewer than two groups, or too few runs that turned for so many features.

    Source:
        Tobin 1958, "Estimation of Relationships for Limited Dependent Variables"; Lei et al. 2018,
        "Distribution-Free Predictive Inference for Regression", arXiv:1604.04173.

    Example:
        >>> x = np.linspace(0.0, 1.0, 40)[:, None]
        >>> d = np.exp(1 + x[:, 0])
        >>> made = calibrate(x, d, d < 5, list(range(40)), names=("x",))
        >>> round(float(np.exp(made.log_d(np.array([0.5])))), 1)
        4.5
    """
    kinds = sorted(set(groups), key=str)
    if len(kinds) < 2 or int(turned.sum()) < 2 * x.shape[1] + 2:
        raise InputError(
            f"a calibration of {x.shape[1]} features has {int(turned.sum())} runs that turned, of "
            f"{len(kinds)} groups; it needs {2 * x.shape[1] + 2} or more, of 2 groups or more"
        )
    group = np.array([kinds.index(g) for g in groups])
    misses = np.empty(len(d))
    for g in range(len(kinds)):
        rest = group != g
        centre, scale, weight, intercept = _fit(x[rest], np.log(d[rest]), turned[rest])
        at = intercept + (x[~rest] - centre) / scale @ weight
        misses[~rest] = np.log(d[~rest]) - at
    errors = (
        -_upper(np.where(turned, -misses, -np.inf), (1 + level) / 2),
        _upper(misses, (1 + level) / 2),
    )
    centre, scale, weight, intercept = _fit(x, np.log(d), turned)
    pack = lambda a: tuple(float(v) for v in a)
    return Calibration(
        tuple(names),
        pack(centre),
        pack(scale),
        pack(weight),
        float(intercept),
        errors,
        level,
        pack(x.min(0)),
        pack(x.max(0)),
        float(d.max()),
        len(d),
        int(turned.sum()),
    )


def _upper(scores: Array, share: float) -> float:
    """The conformal quantile: the ⌈(n + 1)·share⌉-th of n scores, infinite beyond the last."""
    k = math.ceil((len(scores) + 1) * share - 1e-9)
    return float(np.sort(scores)[k - 1]) if k <= len(scores) else math.inf


def _fit(x: Array, y: Array, turned: NDArray[np.bool_]) -> tuple[Array, Array, Array, float]:
    """Centre, scale, weights and intercept of the regression, by maximum likelihood."""
    from scipy.optimize import minimize
    from scipy.special import log_ndtr

    centre, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    z = np.column_stack([np.ones(len(x)), (x - centre) / scale])

    def loss(theta: Array) -> tuple[float, Array]:
        # Olsen's form, in which the likelihood is concave: theta = (coefficients/σ, log 1/σ)
        r = math.exp(theta[-1])
        e = r * y - z @ theta[:-1]
        log_tail = log_ndtr(-e)
        hazard = np.exp(-0.5 * e * e - 0.5 * math.log(2 * math.pi) - log_tail)
        slope = np.where(turned, e, hazard)  # of the loss by e
        value = np.where(turned, 0.5 * e * e - theta[-1], -log_tail).sum()
        ridge = 1e-3 * float((theta[1:-1] ** 2).sum())  # a feature that says nothing has a weight
        by_theta = -z.T @ slope
        by_theta[1:] += 2e-3 * theta[1:-1]
        by_log = float((slope * r * y).sum() - turned.sum())
        return float(value) + ridge, np.append(by_theta, by_log)

    start = np.zeros(z.shape[1] + 1)
    bounds = [(None, None)] * z.shape[1] + [(-20.0, 20.0)]
    options = {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-7}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    theta = found.x[:-1] / math.exp(found.x[-1])
    return centre, scale, theta[1:], float(theta[0])
