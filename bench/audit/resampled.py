"""Measures of runs under resampled seeds: each a function of how often every run counts.

A resample takes a run once, several times or not at all. A measure is a function of these counts
`[D, R]`, one value a resample, so that a thousand resamples are a few products of matrices and not
a thousand loops over pairs of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.audit import measured

Array = NDArray[np.float64]
Measure = Callable[[Array], Array]
RESAMPLES = 1000


def with_interval(seeds: Iterable[int], value: Measure) -> dict[str, float | None]:
    """A measure and its 95 % interval by resampled seeds; None where it is not known."""
    of = np.array(list(seeds))
    known, group = np.unique(of, return_inverse=True)
    draw = np.random.default_rng(0)
    drawn = [np.bincount(draw.choice(len(known), len(known))) for _ in range(RESAMPLES)]
    counts = np.zeros((RESAMPLES, len(known)))
    for row, each in zip(counts, drawn, strict=True):
        row[: len(each)] = each
    again = value(counts[:, group])
    again = again[~np.isnan(again)]
    low, high = np.quantile(again, [0.025, 0.975]) if len(again) else (np.nan, np.nan)
    point = value(np.ones((1, len(of))))[0]
    each = {"value": float(point), "low": float(low), "high": float(high)}
    return {k: v if np.isfinite(v) else None for k, v in each.items()}


def share(held: NDArray[np.bool_]) -> Measure:
    """The share of runs of which something holds."""
    return lambda w: (w @ held.astype(float)) / w.sum(1)


def median(x: Array, of: NDArray[np.bool_] | None = None) -> Measure:
    """exp of the median of x, over all runs or some; NaN without one."""
    rows = np.arange(len(x)) if of is None else np.flatnonzero(of)
    rows = rows[np.argsort(x[rows], kind="stable")]

    def value(w: Array) -> Array:
        if not len(rows):
            return np.full(len(w), np.nan)
        upto = w[:, rows].cumsum(1)
        count = upto[:, -1:]
        lower, upper = ((upto > k).argmax(1) for k in ((count - 1) // 2, count // 2))
        middle = (x[rows][lower] + x[rows][upper]) / 2
        return np.where(count[:, 0] > 0, np.exp(middle), np.nan)

    return value


def rank(predicted: Array, d: Array, turned: NDArray[np.bool_]) -> Measure:
    """Somers' D, as `measured.concordance` is of runs that stand there as often as they count."""
    first = measured.first(d, turned).astype(float)
    right = first * np.sign(predicted[None, :] - predicted[:, None])

    def value(w: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return ((w @ right) * w).sum(1) / ((w @ first) * w).sum(1)

    return value


def within(predicted: Array, d: Array, turned: NDArray[np.bool_], kind: Sequence[str]) -> Measure:
    """The mean over kinds of world of the rank among runs of one kind."""
    names = np.array(kind)
    each = []
    for name in sorted(set(kind)):
        at = np.flatnonzero(names == name)
        each.append((at, rank(predicted[at], d[at], turned[at])))
    return lambda w: mean([value(w[:, at]) for at, value in each])


def mean(values: Sequence[Array]) -> Array:
    """The mean of those that are known; NaN where none is."""
    x = np.stack(values)
    known = ~np.isnan(x)
    with np.errstate(invalid="ignore"):
        return np.where(known, x, 0.0).sum(0) / known.sum(0)
