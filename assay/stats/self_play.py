"""How a run of self-play ended, for claims: means over its late readings, of exact values."""

from __future__ import annotations

from typing import Any


def late(readings: list[dict[str, Any]], of: str = "exploitability") -> float:
    """Mean of an exact value over the second half of a run's readings.

    The policies of one run turn around what they settle at, so that a single reading is a matter
    of when the run stopped.

    Args:
        readings: Of one run, in a world that knows the value.
        of: Its name, without "exact/".

    Raises:
        ValueError: No reading has it.
    """
    found = [
        r["stats"][f"exact/{of}"]
        for r in readings
        if r["tag"] != "best" and r["step"] > 0 and f"exact/{of}" in r["stats"]
    ]
    if not found:
        raise ValueError(f"no reading after the first has {of}: it needs a game of world table")
    second = found[len(found) // 2 :]
    return float(sum(second) / len(second))


def least_exploitable(readings: list[dict[str, Any]]) -> float:
    """Minus the late exploitability, what constants are chosen by."""
    return -late(readings)
