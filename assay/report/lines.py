"""Curves to draw and to tabulate: one run's path, or several seeds pooled on the range that all of
them visited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from assay.records.methods import Method, Reading, Track
from assay.stats.curve_fit import Array, first_passage
from assay.stats.intervals import interval

KINDS = (
    "exact",
    "sampled",
    "upper",
    "unknown",
)  # from the best to the weakest; a pooled point has the weakest kind of its seeds
# what a band of one run covers (measured in tests/test_stats_coverage.py)
ONE_SEED = (
    "One seed: the band is each reading’s 95 % interval over prompts, for this run alone. Another "
    "seed’s run may well lie outside it."
)
Value = Callable[[Track, Reading], tuple[float, float | None] | None]


@dataclass
class Line:
    """A curve to draw: the path of one run, or the mean over seeds on a common grid where all of
    them have been.
    """

    x: Array
    y: Array
    low: Array | None
    high: Array | None
    kinds: list[str]
    seeds: int

    @property
    def band_is_wide(self) -> bool:
        """Whether the usual band is wider than all that the curve moves."""
        if self.low is None or self.high is None:
            return False
        widths = self.high - self.low
        known = widths[np.isfinite(widths)]
        return bool(len(known)) and float(np.median(known)) > float(np.ptp(np.r_[self.y, 0.0]))


def points(track: Track, value: Value, axis: str) -> tuple[Array, Array, Array, list[str]]:
    """The points of a run, in the order of its readings; a reading that lacks x or y is left out.

    Args:
        track: The run.
        value: Takes (run, reading); returns (y, standard error or None), or None.
        axis: "kl" for x in √KL (√nats), "step" for x in steps.

    Returns:
        (x, y, standard error or NaN, kind of KL).
    """
    rows = []
    for r in track.readings:
        got = value(track, r)
        if got is not None and (axis == "step" or r["kl"] is not None):
            x = float(r["step"]) if axis == "step" else float(np.sqrt(max(r["kl"], 0.0)))
            rows.append(
                (
                    x,
                    got[0],
                    np.nan if got[1] is None else got[1],
                    r["kl_kind"] if r["kl_kind"] in KINDS else "unknown",
                )
            )
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    return (
        np.array(columns[0]),
        np.array(columns[1]),
        np.array(columns[2], dtype=float),
        list(columns[3]),
    )


def line(method: Method, value: Value, axis: str = "kl") -> Line | None:
    """One run: its path, with each reading's 95 % normal interval. Several: the mean of their
    values where each first reaches a place, over the range that all of them visited, with a Student
    interval over seeds from three on.

    Args:
        method: The method, with its runs.
        value: The height of a reading, as `points` has it.
        axis: "kl" or "step", as `points` has it.

    Returns:
        The line; None where there are no points, or no range that all runs visited.
    """
    paths = [p for p in (points(t, value, axis) for t in method.tracks) if len(p[0])]
    paths = [p for p in paths if len(p[0]) > 1] or paths[
        :1
    ]  # a run that has just begun holds no other back
    if not paths:
        return None
    if len(paths) == 1:
        x, y, err, kinds = paths[0]
        known = bool(np.isfinite(err).any())
        return Line(
            x, y, y - 1.96 * err if known else None, y + 1.96 * err if known else None, kinds, 1
        )
    start, end = max(p[0][0] for p in paths), min(p[0].max() for p in paths)
    if end < start:
        return None
    places = max(2, min(60, max(len(p[0]) for p in paths))) if end > start else 1
    grid = np.linspace(start, end, places)
    values = np.stack([first_passage(p[0], p[1], grid) for p in paths])
    half = np.array([interval(list(v))[1] for v in values.T]) if len(paths) > 2 else None
    weakest = [
        max(
            (
                p[3][min(int(np.searchsorted(np.maximum.accumulate(p[0]), g)), len(p[0]) - 1)]
                for p in paths
            ),
            key=KINDS.index,
        )
        for g in grid
    ]
    mean = values.mean(0)
    return Line(
        grid,
        mean,
        None if half is None else mean - half,
        None if half is None else mean + half,
        weakest,
        len(paths),
    )


def above(
    key: str, which: int | None = None, unit: Callable[[Track], float | None] = lambda _: 1.0
) -> Value:
    """A value of a reading above its first reading.

    Args:
        key: The reading's field.
        which: Place in a field that is a list; None for a field that is a number.
        unit: Takes a run and returns a factor, None for no value; 1 by default.

    Returns:
        A function for `points`.
    """

    def pick(r: Reading, k: str) -> float | None:
        got = r.get(k)
        if which is not None and isinstance(got, list):
            got = got[which] if which < len(got) else None
        return None if got is None or isinstance(got, list) else float(got)

    def value(track: Track, r: Reading) -> tuple[float, float | None] | None:
        got, base, scale = (
            pick(r, key),
            next((v for s in track.readings if (v := pick(s, key)) is not None), None),
            unit(track),
        )
        if got is None or base is None or scale is None:
            return None
        err = pick(r, f"{key}_err")
        return (got - base) * scale, None if err is None else err * scale

    return value


def gold_units(key: str, which: int | None = None) -> Callable[[Track], float | None]:
    """The factor that gives a score gold's spread between prompts, from the first reading that has
    both errors.
    """

    def unit(track: Track) -> float | None:
        for r in track.readings:
            err = r.get(f"{key}_err")
            if which is not None and isinstance(err, list):
                err = err[which] if which < len(err) else None
            if err and r.get("gold_err") and not isinstance(err, list):
                return float(r["gold_err"] / err)
        return None

    return unit
