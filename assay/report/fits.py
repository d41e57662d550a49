"""What the report asks of a run's readings: peak, rise, fall, values at a given KL. The curves
themselves are fitted in curvefit.

d = √KL in √nats. Gold at some KL is read where a run *first* reaches it, between the two readings
around it, and is not a number outside the range that the run visited.
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
    """The last reading that has `key`, the re-reading of a chosen checkpoint left aside."""
    return next(
        (r for r in reversed(readings) if r.get(key) is not None and r.get("tag") != "best"), None
    )


def peak(readings: Sequence[Reading]) -> dict[str, Any] | None:
    """{gold, gold_err, kl, step, tag, source} of the best checkpoint, None where no gold was read.

    `source` is "re-read" where the chosen checkpoint was read again at fresh addresses; else
    "highest reading", which is too high on average, because the highest of several noisy numbers
    was picked.
    """
    read = [r for r in readings if r.get("gold") is not None]
    if not read:
        return None
    chosen = [r for r in read if r.get("tag") == "best"]
    best = chosen[-1] if chosen else max(read, key=lambda r: r["gold"])
    found = {k: best.get(k) for k in ("gold", "gold_err", "kl", "step", "tag")}
    return {**found, "source": "re-read" if chosen else "highest reading"}


def beside(readings: Sequence[Reading], who: str) -> float | None:
    """Gold of the "reference" or the "last" policy at the addresses where the chosen checkpoint was
    read again, if it was looked at there: the same answers' noise on both sides of a difference.
    """
    again = next((r for r in reversed(readings) if r.get("tag") == "best"), None)
    value = ((again or {}).get("stats") or {}).get(f"fresh/gold_{who}")
    return None if value is None else float(value)


def drop(readings: Sequence[Reading]) -> float | None:
    """Gold at the peak minus gold at the end: what over-optimisation cost. None where no gold was
    read.
    """
    top, end, fresh = peak(readings), final(readings), beside(readings, "last")
    return (
        None
        if top is None or end is None
        else float(top["gold"] - (end["gold"] if fresh is None else fresh))
    )


def rise(readings: Sequence[Reading]) -> float | None:
    """Gold at the peak minus the reference's. None where no gold was read."""
    top, start, fresh = peak(readings), reference(readings), beside(readings, "reference")
    base = fresh if fresh is not None else None if start is None else start.get("gold")
    return None if top is None or base is None else float(top["gold"] - base)


def path(readings: Sequence[Reading], key: str = "gold") -> tuple[Array, Array]:
    """(d, value) of the readings that have both, in the order of reading."""
    kept = [
        r
        for r in readings
        if r.get("kl") is not None and r.get(key) is not None and r.get("tag") != "best"
    ]
    return np.sqrt(np.maximum([float(r["kl"]) for r in kept], 0.0)), np.array(
        [float(r[key]) for r in kept]
    )


def at_kl(readings: Sequence[Reading], kl: float, key: str = "gold") -> float | None:
    """`key` where the run first reaches this KL (nats); None outside the range that it visited."""
    value = float(first_passage(*path(readings, key), np.array([math.sqrt(kl)]))[0])
    return None if math.isnan(value) else value
