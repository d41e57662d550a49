"""Gao's two forms of gold against d = √KL (in √nats), fitted with intervals.

A value at some d is taken where a path *first* reaches it, between the two readings around it. Only
a fitted form extrapolates, and wherever it does, what it misses stands beside what "it stays where
it was" misses.

What an interval covers depends on the runs. Readings of one run share its reward model, so one
run's interval is about that run and no other: the variance between runs cannot be seen in one. From
two runs on it is the interval of their mean, Student's over leaving each run out, and wide for few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.stats.gao_forms import LEAST_D, Beyond, beyond, columns, solve, turning_point
from assay.stats.intervals import interval, student

Array = NDArray[np.float64]
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

    Intervals are 95 %. Of one run they are bootstrap percentiles over its readings and cover that
    run's own constants; of several they are Student's, by leaving each run out, and cover the
    constants of the mean over runs.

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
        runs: The number of runs, which decides what the intervals cover.
        beyond: The form fitted to the first half of the range, judged on the rest; None with too
            few readings there.
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
    runs: int = 1
    beyond: Beyond | None = None

    def __call__(self, d: Array) -> Array:
        return np.asarray(columns(d, self.form) @ np.array([self.alpha, self.beta]))


def fit(
    runs: Sequence[tuple[Array, Array, Array | None]],
    form: str,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Fit | None:
    """Fit one form to the pooled readings of one or more runs.

    Weights are 1/err² if every reading kept has an error above 0, else equal. The bootstrap
    resamples readings within each run, and the runs too where there are several. Held out: every
    third reading in turn, in the order of d.

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
        which = draw.integers(len(kept), size=len(kept)) if len(kept) > 1 else np.arange(1)
        rows = np.concatenate(
            [draw.integers(starts[j], starts[j + 1], size=starts[j + 1] - starts[j]) for j in which]
        )
        a[i], b[i] = solve(d[rows], r[rows], w[rows], form)
    ok = np.isfinite(a) & np.isfinite(b)
    tops = turning_point(a[ok], b[ok], form)
    share = float(np.isfinite(tops[0]).mean()) if ok.any() else 0.0

    d_peak, r_peak = (float(x) for x in turning_point(np.array(alpha), np.array(beta), form))
    has = math.isfinite(d_peak)
    whole = np.array([alpha, beta, d_peak, r_peak])
    low, high = _ends(
        whole, np.stack([a[ok], b[ok], *tops]) if len(kept) == 1 else None, kept, w, form
    )

    def within(i: int) -> tuple[float, float]:
        return float(low[i]), float(high[i])

    known = has and share > 0.9 and bool(np.isfinite([low[2:], high[2:]]).all())
    return Fit(
        form,
        alpha,
        beta,
        within(0),
        within(1),
        d_peak if has else None,
        within(2) if known else None,
        r_peak if has else None,
        within(3) if known else None,
        share,
        float(np.sqrt(np.mean(left**2))),
        left,
        len(d),
        weighted,
        (float(d.min()), float(d.max())),
        len(kept),
        beyond([k[:2] for k in kept], form, cut=float(d.max()) / 2),
    )


def _ends(
    whole: Array,
    resampled: Array | None,
    kept: Sequence[tuple[Array, Array, Array | None]],
    w: Array,
    form: str,
) -> tuple[Array, Array]:
    """The 95 % ends of α, β, d* and R*: percentiles for one run, Student's jackknife for several.

    d* is a ratio and its logarithm is nearer to normal, so its interval is made there.
    """
    if resampled is not None:
        if not resampled.size:
            return whole, whole
        kept_rows = [row[np.isfinite(row)] for row in resampled]
        ends = [np.quantile(x, [0.025, 0.975]) if len(x) else [np.nan] * 2 for x in kept_rows]
        low, high = np.array(ends, dtype=float).T
        return low, high
    of, left = np.repeat(np.arange(len(kept)), [len(k[0]) for k in kept]), []
    d, r = (np.concatenate([k[i] for k in kept]) for i in (0, 1))
    for run in range(len(kept)):
        rest = of != run
        pair = solve(d[rest], r[rest], w[rest], form)
        left.append([*pair, *turning_point(*pair, form)])
    with np.errstate(invalid="ignore", divide="ignore"):
        found, centre = np.array(left, dtype=float), whole.copy()
        found[:, 2], centre[2] = np.log(found[:, 2]), np.log(centre[2])
        R = len(kept)
        error = np.sqrt((R - 1) / R * ((found - found.mean(0)) ** 2).sum(0))
        low, high = centre - student(R - 1) * error, centre + student(R - 1) * error
        low[2], high[2] = np.exp(low[2]), np.exp(high[2])
    return low, high


def tie(right: Fit, wrong: Fit) -> bool:
    """Return whether two forms predict left-out readings equally well.

    They do where the 95 % interval of the mean paired difference of their squared errors holds 0.
    """
    mean, half = interval([float(x) for x in wrong.errors**2 - right.errors**2])
    return not (half is not None and math.isfinite(mean) and abs(mean) > half)
