"""Readings of runs on preference games: where each arm settles, with a little noise."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def arms_at(settled: dict[str, float], first: float, of: str, seed: int) -> Arms:
    """Each arm's readings of one exact value.

    Args:
        settled: Where each arm settles.
        first: What the reference has.
        of: Name of the value.
        seed: Of the noise.
    """
    noise = random.Random(seed)
    arms = {}
    for name, end in settled.items():
        made = run([0.5, 0.5, 0.5, 0.5, 0.5])
        values = [first, first, *(end + noise.gauss(0, 0.005) for _ in range(3)), end]
        for reading, value in zip(made, values, strict=True):
            reading["stats"] = {**reading["stats"], f"exact/{of}": value}
        arms[name] = made
    return arms
