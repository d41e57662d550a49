"""Curves fitted to numbers, numpy alone: Gao's two forms, power laws, Student intervals; for the
report and for studies.

d = √KL in √nats. A value at some d is read where a path *first* reaches it, between the two
readings around it. Nothing here extrapolates, except a fitted form that says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FORMS = ("best-of-n", "rl")
# below, d log d has infinite slope at 0 and noise decides the fit (both forms are fitted to the
# same points)
LEAST_D = 0.3
LEAST_POINTS = 6


def first_passage(d: Array, y: Array, x: Array) -> Array:
    """y where the path d (in the order of reading) first reaches each x, linear between readings;
    NaN out of range.
    """
    if len(d) == 0:
        return np.full(np.shape(x), np.nan)
    i = np.searchsorted(np.maximum.accumulate(d), x, side="left")
    inside = (i < len(d)) & (x >= d[0])
    hi = np.clip(i, 0, len(d) - 1)
    lo = np.maximum(hi - 1, 0)
    gap = d[hi] - d[lo]
    w = np.where(gap > 0, (x - d[lo]) / np.where(gap > 0, gap, 1.0), 1.0)
    return np.where(inside, (1 - w) * y[lo] + w * y[hi], np.nan)


def within(t: float, df: int) -> float:
    """P(|T| ≤ t), by the finite sums for whole degrees of freedom (Abramowitz & Stegun 26.7.3-4)."""
    theta = math.atan(t / math.sqrt(df))
    c, odd = math.cos(theta), df % 2
    term, total = (c, c) if odd else (1.0, 1.0)
    for k in range(2 + odd, df, 2):
        term *= c * c * (k - 1) / k
        total += term
    return (
        (2 / math.pi) * (theta + math.sin(theta) * (total if df > 1 else 0.0))
        if odd
        else math.sin(theta) * total
    )


def student(df: int, level: float = 0.95) -> float:
    """The two-sided Student quantile: the t with P(|T| ≤ t) = level."""
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        theta = (low + high) / 2
        low, high = (
            (theta, high) if within(math.sqrt(df) * math.tan(theta), df) < level else (low, theta)
        )
    return math.sqrt(df) * math.tan((low + high) / 2)


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """(mean, half-width of its 95 % Student interval over the values); no half-width for a single
    one.
    """
    a = np.asarray(values, dtype=float)
    half = None if len(a) < 2 else student(len(a) - 1) * float(a.std(ddof=1)) / math.sqrt(len(a))
    return float(a.mean()), half


@dataclass(frozen=True)
class Fit:
    """One of Gao's forms fitted to gold above the reference. Intervals are 95 % bootstrap
    percentiles, None where a tenth of the resamples or more have no peak; `held_out` is the RMSE on
    left-out readings; `range` is d's.
    """

    form: str
    alpha: float
    beta: float
    alpha_interval: tuple[float, float]
    beta_interval: tuple[float, float]
    d_peak: float | None
    d_interval: tuple[float, float] | None
    r_peak: float | None
    r_interval: tuple[float, float] | None
    with_peak: float
    held_out: float
    errors: Array
    points: int
    weighted: bool
    range: tuple[float, float]

    def __call__(self, d: Array) -> Array:
        return np.asarray(columns(d, self.form) @ np.array([self.alpha, self.beta]))


def columns(d: Array, form: str) -> Array:
    """Regressors of R = αx₁ + βx₂: best-of-n d(α − βd), so (d, −d²); RL d(α − β log d), so (d, −d
    log d). Gao et al., "Scaling Laws for Reward Model Overoptimization", arXiv:2210.10760.
    """
    return np.stack(
        [d, -d * d if form == "best-of-n" else -d * np.log(np.where(d > 0, d, 1.0))], -1
    )


def solve(d: Array, r: Array, w: Array, form: str) -> tuple[Array, Array]:
    """(α, β) by weighted linear least squares without intercept; leading axes of d, r, w are
    resamples.
    """
    x = columns(d, form)
    a = np.einsum("...pi,...p,...pj->...ij", x, w, x)
    b = np.einsum("...pi,...p,...p->...i", x, w, r)
    det = a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] ** 2
    det = np.where(
        det > 1e-12 * a[..., 0, 0] * a[..., 1, 1], det, np.nan
    )  # all points at one d: no unique fit
    alpha = (a[..., 1, 1] * b[..., 0] - a[..., 0, 1] * b[..., 1]) / det
    beta = (a[..., 0, 0] * b[..., 1] - a[..., 0, 1] * b[..., 0]) / det
    return np.asarray(alpha), np.asarray(beta)


def turning_point(alpha: Array, beta: Array, form: str) -> tuple[Array, Array]:
    """(d*, R*): best-of-n α/2β and α²/4β; RL exp(α/β − 1) and β·d*. NaN where the form has no
    maximum at d > 0.
    """
    with np.errstate(all="ignore"):
        if form == "best-of-n":
            d, r, has = alpha / (2 * beta), alpha**2 / (4 * beta), (beta > 0) & (alpha > 0)
        else:
            d = np.exp(alpha / beta - 1)
            r, has = beta * d, beta > 0
    has = has & np.isfinite(d) & np.isfinite(r)
    return np.where(has, d, np.nan), np.where(has, r, np.nan)


def fit(
    runs: Sequence[tuple[Array, Array, Array | None]],
    form: str,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Fit | None:
    """One form, fitted to the pooled readings (d, gold above the reference, its error or None) of
    one or more runs.

    Readings with d < LEAST_D are dropped. Weights are 1/err² if every reading kept has an error
    above 0, else equal. The bootstrap resamples readings within each run, and the runs too where
    there are five or more. Held out: every third reading in turn, in the order of d. None with
    fewer than LEAST_POINTS readings or when they do not fix both parameters.
    """
    kept = [
        (d[d >= LEAST_D], r[d >= LEAST_D], None if e is None else e[d >= LEAST_D])
        for d, r, e in runs
    ]
    kept = [k for k in kept if len(k[0])]
    if sum(len(k[0]) for k in kept) < LEAST_POINTS:
        return None
    weighted = all(e is not None and bool((e > 0).all()) for _, _, e in kept)
    d, r = (np.concatenate([k[i] for k in kept]) for i in (0, 1))
    w = np.concatenate(
        [1 / k[2] ** 2 if weighted and k[2] is not None else np.ones(len(k[0])) for k in kept]
    )
    alpha, beta = (float(x) for x in solve(d, r, w, form))
    if not (math.isfinite(alpha) and math.isfinite(beta)):
        return None
    order, left = np.argsort(d, kind="stable"), np.full(len(d), np.nan)
    for k in range(3):
        out, rest = order[k::3], np.concatenate([order[(k + 1) % 3 :: 3], order[(k + 2) % 3 :: 3]])
        left[out] = r[out] - columns(d[out], form) @ np.array(
            solve(d[rest], r[rest], w[rest], form)
        )
    starts = np.cumsum([0] + [len(k[0]) for k in kept])
    draw = np.random.default_rng(seed)
    a, b = np.empty(resamples), np.empty(resamples)
    for i in range(resamples):
        which = draw.integers(len(kept), size=len(kept)) if len(kept) >= 5 else np.arange(len(kept))
        rows = np.concatenate(
            [draw.integers(starts[j], starts[j + 1], size=starts[j + 1] - starts[j]) for j in which]
        )
        a[i], b[i] = solve(d[rows], r[rows], w[rows], form)
    ok = np.isfinite(a) & np.isfinite(b)
    tops = turning_point(a[ok], b[ok], form)
    share = float(np.isfinite(tops[0]).mean()) if ok.any() else 0.0

    def ends(x: Array) -> tuple[float, float]:
        low, high = np.quantile(x[np.isfinite(x)], [0.025, 0.975])
        return float(low), float(high)

    d_peak, r_peak = (float(x) for x in turning_point(np.array(alpha), np.array(beta), form))
    has = math.isfinite(d_peak)
    return Fit(
        form,
        alpha,
        beta,
        ends(a[ok]) if ok.any() else (alpha, alpha),
        ends(b[ok]) if ok.any() else (beta, beta),
        d_peak if has else None,
        ends(tops[0]) if has and share > 0.9 else None,
        r_peak if has else None,
        ends(tops[1]) if has and share > 0.9 else None,
        share,
        float(np.sqrt(np.mean(left**2))),
        left,
        len(d),
        weighted,
        (float(d.min()), float(d.max())),
    )


def tie(right: Fit, wrong: Fit) -> bool:
    """Whether the held-out squared errors of two forms on the same readings differ by no more than
    chance: the 95 % interval of their mean paired difference holds 0.
    """
    mean, half = interval([float(x) for x in wrong.errors**2 - right.errors**2])
    return not (half is not None and math.isfinite(mean) and abs(mean) > half)


def beyond(
    d: Array, r: Array, form: str, *, cut: float
) -> tuple[tuple[float, float], float] | None:
    """((α, β) fitted to the readings with LEAST_D ≤ d ≤ cut, root mean squared error of that form
    on those with d > cut).

    None where either part has too little: fewer than three readings to fit, none to predict.
    """
    first, rest = (d >= LEAST_D) & (d <= cut), d > cut
    if first.sum() < 3 or not rest.any():
        return None
    alpha, beta = (float(x) for x in solve(d[first], r[first], np.ones(int(first.sum())), form))
    if not (math.isfinite(alpha) and math.isfinite(beta)):
        return None
    left = r[rest] - columns(d[rest], form) @ np.array([alpha, beta])
    return (alpha, beta), float(np.sqrt(np.mean(left**2)))


@dataclass(frozen=True)
class PowerLaw:
    """y = floor + scale·x^−exponent. `r2`: of log(y − floor) against log x, over all points with
    the fitted line; `held_out`: |log predicted − log found| of (y − floor) at the largest x, which
    the fit did not see.
    """

    scale: float
    exponent: float
    floor: float
    r2: float
    held_out: float
    points: int

    def __call__(self, x: Array) -> Array:
        return np.asarray(self.floor + self.scale * x**-self.exponent)


def power_law(
    x: Sequence[float], y: Sequence[float], *, floor: float | None = None
) -> PowerLaw | None:
    """A power law fitted to all points but the one of largest x, which is predicted. Least squares
    in logarithms.

    `floor`: what y tends to, where it is known (the entropy of the labels); None fits it too, as
    the one of 400 values from 0 to just below the least y at which the fitted points are missed
    least, in y. None is returned where fewer than four points are left to fit, or one of them is
    not above the floor.
    """
    order = np.argsort(np.asarray(x, dtype=float), kind="stable")
    a, b = np.asarray(x, dtype=float)[order], np.asarray(y, dtype=float)[order]
    if len(a) < 5 or not (a > 0).all() or not np.isfinite(b).all():
        return None
    tried = (
        [floor]
        if floor is not None
        else list(np.linspace(0.0, 1.0, 400, endpoint=False) * float(b.min()))
    )
    found = [law for f in tried if (law := _log_line(a, b, f)) is not None]
    return min(found, key=lambda law: float(np.mean((law(a[:-1]) - b[:-1]) ** 2)), default=None)


def _log_line(x: Array, y: Array, floor: float) -> PowerLaw | None:
    if not (y > floor).all():
        return None
    u, v = np.log(x), np.log(y - floor)
    slope, height = np.polyfit(u[:-1], v[:-1], 1)
    left = v - (height + slope * u)
    total = float(np.sum((v - v.mean()) ** 2))
    r2 = 1 - float(np.sum(left**2)) / total if total > 0 else 0.0
    return PowerLaw(
        float(np.exp(height)), -float(slope), float(floor), r2, abs(float(left[-1])), len(x)
    )


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least-squares slope of y against log x: what y gains each time x grows e-fold."""
    return float(np.polyfit(np.log(np.asarray(x, dtype=float)), np.asarray(y, dtype=float), 1)[0])
