"""A run's peak, rise, drop and gold at a given KL, for claims; one seed at a time.

The words are defined in `readings.py`. A claim takes the second look at the best checkpoint or
raises, where a report shows the highest reading instead.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeVar

from assay.stats import readings as run

Reading = dict[str, Any]
T = TypeVar("T")


def curve(readings: list[Reading]) -> list[tuple[float, float]]:
    """(√KL, gold) of every reading that has both, in order of reading; nats, KL clipped at 0 (a
    sampled one may dip below).
    """
    return [(float(d), float(gold)) for d, gold in zip(*run.path(readings), strict=True)]


def _known(found: T | None) -> T:
    if found is None:
        raise ValueError(
            "this run has not read its best checkpoint again: it is unfinished, or its world has "
            "no gold"
        )
    return found


def peak(readings: list[Reading]) -> float:
    """Gold of the best checkpoint at fresh addresses: the first look at it is too high, by
    selection.
    """
    return float(_known(run.peak(readings, fresh=True))["gold"])


def rise(readings: list[Reading]) -> float:
    """Peak minus the reference, both at the fresh addresses."""
    return _known(run.rise(readings, fresh=True))


def drop(readings: list[Reading]) -> float:
    """Peak minus the last policy, both at the fresh addresses: how far the run fell."""
    return _known(run.drop(readings, fresh=True))


def late_fall(readings: list[Reading]) -> float:
    """Gold at half of the largest √KL of a run, minus gold at the largest.

    Without the bias of a peak of noisy readings: neither place is chosen by gold.
    """
    far = max((d for d, _ in curve(readings)), default=0.0)
    return gold_at(readings, far / 2) - gold_at(readings, far)


def gained(readings: list[Reading]) -> list[Reading]:
    """The same readings with gold above the reference's, at the addresses that they share."""
    start = _known(run.reference(readings))["gold"]
    return [
        {**r, "gold": None if r["gold"] is None else r["gold"] - start}
        for r in readings
        if r["tag"] != "best"
    ]


def final(readings: list[Reading]) -> float:
    """Gold of the last reading on the curve, at the addresses that all runs of a seed share."""
    return float(_known(run.final(readings))["gold"])


def average(readings: list[Reading]) -> float:
    """Mean gold over the curve's readings after the reference: how fast a run learned, and what it
    kept.
    """
    gold = [
        r["gold"]
        for r in readings
        if r["tag"] != "best" and r["step"] > 0 and r["gold"] is not None
    ]
    if not gold:
        raise ValueError("this run has no reading with gold after its reference")
    return float(sum(gold) / len(gold))


def gold_at(readings: list[Reading], d: float) -> float:
    """Gold where the run first reaches √KL = d, linear between two readings. Raises ValueError
    outside its range.
    """
    points = curve(readings)
    if points and points[0][0] == d:
        return points[0][1]
    for (d0, g0), (d1, g1) in pairwise(points):
        if d0 < d <= d1:
            return g0 + (g1 - g0) * (d - d0) / (d1 - d0)
    raise ValueError(f"√KL = {d:g} lies outside the measured range; gold is not extrapolated")


def matched_gain(mine: list[Reading], theirs: list[Reading], *, points: int = 50) -> float:
    """Mean gold difference at equal √KL over the range that both runs measured.

    The area between two gold-against-√KL curves divided by the width of their overlap.

    Args:
        mine: One run's readings, in the order of reading.
        theirs: The other run's.
        points: Places at which the curves are compared, equally spaced; at least 2.

    Returns:
        The difference, above 0 if `mine` lies higher.

    Raises:
        ValueError: The ranges do not overlap: moving less is not the same as mitigating. Or a run
            has no reading with both KL and gold.
    """
    a, b = ([d for d, _ in curve(x)] for x in (mine, theirs))
    if not a or not b:
        raise ValueError("one of the runs has no reading with both KL and gold")
    low, high = max(a[0], b[0]), min(max(a), max(b))
    if high <= low:
        raise ValueError("the two runs share no range of KL")
    grid = [min(high, low + (high - low) * i / (points - 1)) for i in range(points)]
    return sum(gold_at(mine, d) - gold_at(theirs, d) for d in grid) / points


def gold_over(readings: list[Reading], d: float, *, points: int = 50) -> float:
    """Mean gold from the first reading to √KL = d, or as far as the run came.

    One run's side of `matched_gain`: by it constants are chosen where arms are compared at equal
    KL. A run that ends before d is not credited with what it might have reached.

    Args:
        readings: A run's readings, in the order of reading.
        d: Where it ends; the same for all arms.
        points: Places at which gold is read, equally spaced; at least 2.

    Returns:
        The mean.

    Raises:
        ValueError: The run has no reading with both KL and gold.
    """
    known = curve(readings)
    if not known:
        raise ValueError("this run has no reading with both KL and gold")
    low, high = known[0][0], min(d, max(at for at, _ in known))
    places = (min(high, low + (high - low) * i / (points - 1)) for i in range(points))
    return sum(gold_at(readings, at) for at in places) / points
