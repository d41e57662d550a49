"""Numbers out of readings: peaks, drops, gold at a given KL, Student intervals, and Gao's two forms.

d = √KL in √nats. Gold at some KL is read where a run *first* reaches it, between the two readings around it, and is
not a number outside the range that the run visited. Nothing here extrapolates, except a fitted form that says so.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Reading = Mapping[str, Any]
FORMS = ("best-of-n", "rl")
LEAST_D = 0.3  # below, d log d has infinite slope at 0 and noise decides the fit (both forms are fitted to the same points)
LEAST_POINTS = 6


def reference(readings: Sequence[Reading]) -> Reading | None:
    """The reading of the reference: step 0."""
    return next((r for r in readings if r["step"] == 0 and r.get("tag") != "chosen"), None)


def final(readings: Sequence[Reading], key: str = "gold") -> Reading | None:
    """The last reading that has `key`, the re-reading of a chosen checkpoint left aside."""
    return next((r for r in reversed(readings) if r.get(key) is not None and r.get("tag") != "chosen"), None)


def peak(readings: Sequence[Reading]) -> dict[str, Any] | None:
    """{gold, gold_err, kl, step, tag, source} of the best checkpoint, None where no gold was read.

    `source` is "re-read" where the chosen checkpoint was read again at fresh addresses; else "highest reading", which
    is too high on average, because the highest of several noisy numbers was picked.
    """
    read = [r for r in readings if r.get("gold") is not None]
    if not read:
        return None
    chosen = [r for r in read if r.get("tag") == "chosen"]
    best = chosen[-1] if chosen else max(read, key=lambda r: r["gold"])
    found = {k: best.get(k) for k in ("gold", "gold_err", "kl", "step", "tag")}
    return {**found, "source": "re-read" if chosen else "highest reading"}


def beside(readings: Sequence[Reading], who: str) -> float | None:
    """Gold of the "reference" or the "last" policy at the addresses where the chosen checkpoint was read again, if it was
    looked at there: the same answers' noise on both sides of a difference."""
    again = next((r for r in reversed(readings) if r.get("tag") == "chosen"), None)
    value = ((again or {}).get("stats") or {}).get(f"fresh/gold_{who}")
    return None if value is None else float(value)


def drop(readings: Sequence[Reading]) -> float | None:
    """Gold at the peak minus gold at the end: what over-optimisation cost. None where no gold was read."""
    top, end, fresh = peak(readings), final(readings), beside(readings, "last")
    return None if top is None or end is None else float(top["gold"] - (end["gold"] if fresh is None else fresh))


def rise(readings: Sequence[Reading]) -> float | None:
    """Gold at the peak minus the reference's. None where no gold was read."""
    top, start, fresh = peak(readings), reference(readings), beside(readings, "reference")
    base = fresh if fresh is not None else None if start is None else start.get("gold")
    return None if top is None or base is None else float(top["gold"] - base)


def first_passage(d: Array, y: Array, x: Array) -> Array:
    """y where the path d (in the order of reading) first reaches each x, linear between readings; NaN out of range."""
    if len(d) == 0:
        return np.full(np.shape(x), np.nan)
    i = np.searchsorted(np.maximum.accumulate(d), x, side="left")
    inside = (i < len(d)) & (x >= d[0])
    hi = np.clip(i, 0, len(d) - 1)
    lo = np.maximum(hi - 1, 0)
    gap = d[hi] - d[lo]
    w = np.where(gap > 0, (x - d[lo]) / np.where(gap > 0, gap, 1.0), 1.0)
    return np.where(inside, (1 - w) * y[lo] + w * y[hi], np.nan)


def path(readings: Sequence[Reading], key: str = "gold") -> tuple[Array, Array]:
    """(d, value) of the readings that have both, in the order of reading."""
    kept = [r for r in readings if r.get("kl") is not None and r.get(key) is not None and r.get("tag") != "chosen"]
    return np.sqrt(np.maximum([float(r["kl"]) for r in kept], 0.0)), np.array([float(r[key]) for r in kept])


def at_kl(readings: Sequence[Reading], kl: float, key: str = "gold") -> float | None:
    """`key` where the run first reaches this KL (nats); None outside the range that it visited."""
    value = float(first_passage(*path(readings, key), np.array([math.sqrt(kl)]))[0])
    return None if math.isnan(value) else value


def student(df: int, level: float = 0.95) -> float:
    """The two-sided Student quantile, from the finite sums for whole degrees of freedom (Abramowitz & Stegun 26.7.3-4)."""
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        theta = (low + high) / 2
        c, odd = math.cos(theta), df % 2
        term, total = (c, c) if odd else (1.0, 1.0)
        for k in range(2 + odd, df, 2):
            term *= c * c * (k - 1) / k
            total += term
        inside = (2 / math.pi) * (theta + math.sin(theta) * (total if df > 1 else 0.0)) if odd else math.sin(theta) * total
        low, high = (theta, high) if inside < level else (low, theta)
    return math.sqrt(df) * math.tan((low + high) / 2)


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """(mean, half-width of its 95 % Student interval over the values); no half-width for a single one."""
    a = np.asarray(values, dtype=float)
    half = None if len(a) < 2 else student(len(a) - 1) * float(a.std(ddof=1)) / math.sqrt(len(a))
    return float(a.mean()), half


@dataclass(frozen=True)
class Fit:
    """One of Gao's forms fitted to gold above the reference. Intervals are 95 % bootstrap percentiles, None where a
    tenth of the resamples or more have no peak; `held_out` is the RMSE on left-out readings; `range` is d's."""

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
    """Regressors of R = αx₁ + βx₂: best-of-n d(α − βd), so (d, −d²); RL d(α − β log d), so (d, −d log d). Gao et al.,
    "Scaling Laws for Reward Model Overoptimization", arXiv:2210.10760."""
    return np.stack([d, -d * d if form == "best-of-n" else -d * np.log(np.where(d > 0, d, 1.0))], -1)


def solve(d: Array, r: Array, w: Array, form: str) -> tuple[Array, Array]:
    """(α, β) by weighted linear least squares without intercept; leading axes of d, r, w are resamples."""
    x = columns(d, form)
    a = np.einsum("...pi,...p,...pj->...ij", x, w, x)
    b = np.einsum("...pi,...p,...p->...i", x, w, r)
    det = a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] ** 2
    det = np.where(det > 1e-12 * a[..., 0, 0] * a[..., 1, 1], det, np.nan)  # all points at one d: no unique fit
    alpha = (a[..., 1, 1] * b[..., 0] - a[..., 0, 1] * b[..., 1]) / det
    beta = (a[..., 0, 0] * b[..., 1] - a[..., 0, 1] * b[..., 0]) / det
    return np.asarray(alpha), np.asarray(beta)


def turning_point(alpha: Array, beta: Array, form: str) -> tuple[Array, Array]:
    """(d*, R*): best-of-n α/2β and α²/4β; RL exp(α/β − 1) and β·d*. NaN where the form has no maximum at d > 0."""
    with np.errstate(all="ignore"):
        if form == "best-of-n":
            d, r, has = alpha / (2 * beta), alpha**2 / (4 * beta), (beta > 0) & (alpha > 0)
        else:
            d = np.exp(alpha / beta - 1)
            r, has = beta * d, beta > 0
    has = has & np.isfinite(d) & np.isfinite(r)
    return np.where(has, d, np.nan), np.where(has, r, np.nan)


def fit(runs: Sequence[tuple[Array, Array, Array | None]], form: str, *, resamples: int = 1000, seed: int = 0) -> Fit | None:
    """One form, fitted to the pooled readings (d, gold above the reference, its error or None) of one or more runs.

    Readings with d < LEAST_D are dropped. Weights are 1/err² if every reading kept has an error above 0, else equal.
    The bootstrap resamples readings within each run, and the runs too where there are five or more. Held out: every
    third reading in turn, in the order of d. None with fewer than LEAST_POINTS readings or when they do not fix both
    parameters.
    """
    kept = [(d[d >= LEAST_D], r[d >= LEAST_D], None if e is None else e[d >= LEAST_D]) for d, r, e in runs]
    kept = [k for k in kept if len(k[0])]
    if sum(len(k[0]) for k in kept) < LEAST_POINTS:
        return None
    weighted = all(e is not None and bool((e > 0).all()) for _, _, e in kept)
    d, r = (np.concatenate([k[i] for k in kept]) for i in (0, 1))
    w = np.concatenate([1 / k[2] ** 2 if weighted and k[2] is not None else np.ones(len(k[0])) for k in kept])
    alpha, beta = (float(x) for x in solve(d, r, w, form))
    if not (math.isfinite(alpha) and math.isfinite(beta)):
        return None
    order, left = np.argsort(d, kind="stable"), np.full(len(d), np.nan)
    for k in range(3):
        out, rest = order[k::3], np.concatenate([order[(k + 1) % 3::3], order[(k + 2) % 3::3]])
        left[out] = r[out] - columns(d[out], form) @ np.array(solve(d[rest], r[rest], w[rest], form))
    starts = np.cumsum([0] + [len(k[0]) for k in kept])
    draw = np.random.default_rng(seed)
    a, b = np.empty(resamples), np.empty(resamples)
    for i in range(resamples):
        which = draw.integers(len(kept), size=len(kept)) if len(kept) >= 5 else np.arange(len(kept))
        rows = np.concatenate([draw.integers(starts[j], starts[j + 1], size=starts[j + 1] - starts[j]) for j in which])
        a[i], b[i] = solve(d[rows], r[rows], w[rows], form)
    ok = np.isfinite(a) & np.isfinite(b)
    tops = turning_point(a[ok], b[ok], form)
    share = float(np.isfinite(tops[0]).mean()) if ok.any() else 0.0

    def ends(x: Array) -> tuple[float, float]:
        low, high = np.quantile(x[np.isfinite(x)], [0.025, 0.975])
        return float(low), float(high)

    d_peak, r_peak = (float(x) for x in turning_point(np.array(alpha), np.array(beta), form))
    has = math.isfinite(d_peak)
    return Fit(form, alpha, beta, ends(a[ok]) if ok.any() else (alpha, alpha), ends(b[ok]) if ok.any() else (beta, beta),
               d_peak if has else None, ends(tops[0]) if has and share > 0.9 else None,
               r_peak if has else None, ends(tops[1]) if has and share > 0.9 else None, share,
               float(np.sqrt(np.mean(left**2))), left, len(d), weighted, (float(d.min()), float(d.max())))


def tie(right: Fit, wrong: Fit) -> bool:
    """Whether the held-out squared errors of two forms on the same readings differ by no more than chance: the 95 %
    interval of their mean paired difference holds 0."""
    mean, half = interval([float(x) for x in wrong.errors**2 - right.errors**2])
    return not (half is not None and math.isfinite(mean) and abs(mean) > half)
