"""Gao's two forms of gold against d = √KL (in √nats), fitted with intervals.

A value at some d is taken where a path *first* reaches it, between the two readings around it. Only
a fitted form extrapolates, and it says so.

The bootstrap is our own: it resamples readings within runs and the runs themselves, which
`scipy.stats.bootstrap` cannot nest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.stats.intervals import interval

Array = NDArray[np.float64]
FORMS = ("best-of-n", "rl")
# below, d log d has infinite slope at 0 and noise decides the fit (both forms are fitted to the
# same points)
LEAST_D = 0.3
LEAST_POINTS = 6


def first_passage(d: Array, y: Array, x: Array) -> Array:
    """Return y where the path d first reaches each x, linear between readings.

    Args:
        d: The path, in the order of reading.
        y: The value at each reading.
        x: Where y is wanted.

    Returns:
        One value for each x, NaN outside the range of the path.
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


@dataclass(frozen=True)
class Fit:
    """One of Gao's forms fitted to gold above the reference; `fit(d)` evaluates it.

    Intervals are 95 % bootstrap percentiles.

    Attributes:
        form: "best-of-n" or "rl".
        alpha: The form's α.
        beta: The form's β.
        alpha_interval: The interval of α.
        beta_interval: The interval of β.
        d_peak: √KL at the peak, None where the form has none.
        d_interval: Its interval, None where a tenth of the resamples or more have no peak.
        r_peak: Gold above the reference at the peak.
        r_interval: Its interval, None as that of d.
        with_peak: The share of resamples that have a peak.
        held_out: The root mean squared error on left-out readings.
        errors: The error on each left-out reading.
        points: The number of readings.
        weighted: Whether readings count by their own errors.
        range: The least and the largest d.
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
    """Return the regressors of R = αx₁ + βx₂.

    Best-of-n is d(α − βd), so (d, −d²); RL is d(α − β log d), so (d, −d log d).

    Args:
        d: √KL.
        form: "best-of-n" or "rl".

    Returns:
        x₁ and x₂ along a new last axis.

    Source:
        Gao et al., "Scaling Laws for Reward Model Overoptimization", arXiv:2210.10760.
    """
    return np.stack(
        [d, -d * d if form == "best-of-n" else -d * np.log(np.where(d > 0, d, 1.0))], -1
    )


def solve(d: Array, r: Array, w: Array, form: str) -> tuple[Array, Array]:
    """Fit a form by weighted linear least squares without intercept.

    Args:
        d: √KL; leading axes are resamples.
        r: Gold above the reference.
        w: The weight of each reading.
        form: "best-of-n" or "rl".

    Returns:
        (α, β), NaN where the readings do not fix both.
    """
    x = columns(d, form)
    a = np.einsum("...pi,...p,...pj->...ij", x, w, x)
    b = np.einsum("...pi,...p,...p->...i", x, w, r)
    det = a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] ** 2
    # all points at one d: no unique fit
    det = np.where(det > 1e-12 * a[..., 0, 0] * a[..., 1, 1], det, np.nan)
    alpha = (a[..., 1, 1] * b[..., 0] - a[..., 0, 1] * b[..., 1]) / det
    beta = (a[..., 0, 0] * b[..., 1] - a[..., 0, 1] * b[..., 0]) / det
    return np.asarray(alpha), np.asarray(beta)


def turning_point(alpha: Array, beta: Array, form: str) -> tuple[Array, Array]:
    """Return where a form peaks and how high: α/2β and α²/4β, or exp(α/β − 1) and β·d*.

    Args:
        alpha: The form's α.
        beta: The form's β.
        form: "best-of-n" or "rl".

    Returns:
        (d*, R*), NaN where the form has no maximum at d > 0.
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
    """Fit one form to the pooled readings of one or more runs.

    Weights are 1/err² if every reading kept has an error above 0, else equal. The bootstrap
    resamples readings within each run, and the runs too where there are five or more. Held out:
    every third reading in turn, in the order of d.

    Args:
        runs: (d, gold above the reference, its error or None) of each run. Readings with
            d < LEAST_D are dropped.
        form: "best-of-n" or "rl".
        resamples: Resamples of the bootstrap.
        seed: The bootstrap's seed.

    Returns:
        The fit; None with fewer than LEAST_POINTS readings, or where they do not fix both
        parameters.
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
    """Return whether two forms predict left-out readings equally well.

    They do where the 95 % interval of the mean paired difference of their squared errors holds 0.
    """
    mean, half = interval([float(x) for x in wrong.errors**2 - right.errors**2])
    return not (half is not None and math.isfinite(mean) and abs(mean) > half)


def beyond(
    d: Array, r: Array, form: str, *, cut: float
) -> tuple[tuple[float, float], float] | None:
    """Fit a form to the readings up to `cut`, and test it on those beyond.

    Args:
        d: √KL.
        r: Gold above the reference.
        form: "best-of-n" or "rl".
        cut: The largest d that is fitted; the least is LEAST_D.

    Returns:
        ((α, β), root mean squared error beyond the cut); None where fewer than three readings are
        left to fit, or none to predict.
    """
    first, rest = (d >= LEAST_D) & (d <= cut), d > cut
    if first.sum() < 3 or not rest.any():
        return None
    alpha, beta = (float(x) for x in solve(d[first], r[first], np.ones(int(first.sum())), form))
    if not (math.isfinite(alpha) and math.isfinite(beta)):
        return None
    left = r[rest] - columns(d[rest], form) @ np.array([alpha, beta])
    return (alpha, beta), float(np.sqrt(np.mean(left**2)))
