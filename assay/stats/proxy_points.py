"""How well values stay at their proxy points, for claims on constraints; one seed at a time."""

from __future__ import annotations

from assay.stats.effects import Reading, final

TOLERANCE = 0.25  # in units of scores


def off(readings: list[Reading]) -> float:
    """Mean |v − θ| over components and the last quarter of the readings, in units of scores."""
    curve = [r["stats"] for r in readings if r["tag"] != "best" and "value/0" in r["stats"]]
    late = [(k, x) for x in curve[len(curve) * 3 // 4 :] for k in x if k.startswith("value/")]
    return sum(abs(x[k] - x[k.replace("value", "point")]) for k, x in late) / len(late)


def held_gold(readings: list[Reading]) -> float:
    """Final gold, by which constants are chosen; where weights follow points, less ten times what
    values stray beyond TOLERANCE, so that what is chosen holds them.
    """
    weights = {r["stats"]["weight/0"] for r in readings if "weight/0" in r["stats"]}
    stray = max(0.0, off(readings) - TOLERANCE) if len(weights) > 1 else 0.0
    return final(readings) - 10 * stray
