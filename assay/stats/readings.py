"""What a run's readings say: its peak, rise, drop and end, and its gold at a given KL.

The one definition of these words, for the report (which shows what there is, and says where it is
from) and for claims (which take fresh samples or nothing: `effects.py`). d = √KL in √nats. Step 0
is the reference. A reading with the tag "best" is a second look at the best checkpoint on fresh
samples, and never part of the curve. Gold at some KL is read where a run *first* reaches it,
between the two readings around it, and is not a number outside the range that the run visited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.stats.curve_fit import Array, first_passage

Reading = Mapping[str, Any]


def reference(readings: Sequence[Reading]) -> Reading | None:
    """The reading of the reference: step 0."""
    return next((r for r in readings if r["step"] == 0 and r.get("tag") != "best"), None)


def final(readings: Sequence[Reading], key: str = "gold") -> Reading | None:
    """The last reading of the curve that has `key`."""
    curve = (r for r in reversed(readings) if r.get("tag") != "best")
    return next((r for r in curve if r.get(key) is not None), None)


def second_look(readings: Sequence[Reading]) -> Reading | None:
    """The second look at the best checkpoint, on fresh samples."""
    return next((r for r in reversed(readings) if r.get("tag") == "best"), None)


def peak(readings: Sequence[Reading], *, fresh: bool = False) -> dict[str, Any] | None:
    """The best checkpoint.

    Args:
        readings: One run's, in the order of reading.
        fresh: Take the second look or nothing.

    Returns:
        {gold, gold_err, kl, step, tag, source}; None where no gold was read. `source` is "re-read"
        where the best checkpoint was read again on fresh samples; else "highest reading", which is
        too high on average, because the highest of several noisy numbers was picked.
    """
    again = second_look(readings)
    if again is not None and again.get("gold") is None:
        again = None
    read = [] if fresh else [r for r in readings if r.get("gold") is not None]
    best = again or max(read, key=lambda r: float(r["gold"]), default=None)
    if best is None:
        return None
    found = {k: best.get(k) for k in ("gold", "gold_err", "kl", "step", "tag")}
    return {**found, "source": "re-read" if again else "highest reading"}


def beside(readings: Sequence[Reading], who: str) -> float | None:
    """Gold of the "reference" or the "last" policy where the best checkpoint was read again.

    The same samples' noise is then on both sides of a difference.
    """
    value = ((second_look(readings) or {}).get("stats") or {}).get(f"fresh/gold_{who}")
    return None if value is None else float(value)


def gold_of(readings: Sequence[Reading], who: str) -> float | None:
    """Gold of the "reference" or the "last" policy: on the fresh completions of the second look, so
    that it and the peak share their noise, else from its own reading.
    """
    same = beside(readings, who)
    if same is not None:
        return same
    found = reference(readings) if who == "reference" else final(readings)
    return None if found is None or found.get("gold") is None else float(found["gold"])


def drop(readings: Sequence[Reading], *, fresh: bool = False) -> float | None:
    """Gold at the peak minus gold at the end: what over-optimisation cost.

    Args:
        readings: One run's, in the order of reading.
        fresh: Take both on the samples of the second look, or nothing.

    Returns:
        The difference; None where one side was not read.
    """
    return _above(readings, beside(readings, "last"), final(readings), fresh)


def rise(readings: Sequence[Reading], *, fresh: bool = False) -> float | None:
    """Gold at the peak minus the reference's.

    Args:
        readings: One run's, in the order of reading.
        fresh: Take both on the samples of the second look, or nothing.

    Returns:
        The difference; None where one side was not read.
    """
    return _above(readings, beside(readings, "reference"), reference(readings), fresh)


def _above(
    readings: Sequence[Reading], same: float | None, other: Reading | None, fresh: bool
) -> float | None:
    """The peak above a value on the same samples, else above another reading."""
    top = peak(readings, fresh=fresh)
    base = (other or {}).get("gold") if same is None and not fresh else same
    return None if top is None or base is None else float(top["gold"] - base)


def path(readings: Sequence[Reading], key: str = "gold") -> tuple[Array, Array]:
    """(d, value) of the readings of the curve that have both; KL is clipped at 0."""
    curve = [r for r in readings if r.get("tag") != "best"]
    kept = [r for r in curve if r.get("kl") is not None and r.get(key) is not None]
    d = np.sqrt(np.maximum([float(r["kl"]) for r in kept], 0.0))
    return d, np.array([float(r[key]) for r in kept])


def at_kl(readings: Sequence[Reading], kl: float, key: str = "gold") -> float | None:
    """`key` where the run first reaches this KL, linear between readings.

    Args:
        readings: One run's, in the order of reading.
        kl: In nats.
        key: Name of a reading's value. Default: gold.

    Returns:
        The value; None outside the range that the run visited.
    """
    value = float(first_passage(*path(readings, key), np.array([math.sqrt(kl)]))[0])
    return None if math.isnan(value) else value
