"""Right and short answers by hand: DRPO's product is the larger, or the same."""

from __future__ import annotations

from random import Random
from typing import Any

from verdicts.curves import run

Lines = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Lines:
    """As right, and shorter."""
    return _arms(seed, 0.6)


def false(seed: int) -> Lines:
    """As right, and as long."""
    return _arms(seed, 0.4)


def _arms(seed: int, short: float) -> Lines:
    noise, arms = Random(seed), {}
    for arm, shortness in {"mine": short, "sum": 0.4, "blind": 0.4}.items():
        arms[arm] = run([0.5, 0.6, 0.8 + noise.gauss(0, 0.005)])
        for r in arms[arm]:
            r["golds"] = [r["gold"], 0.5, shortness, 0.9]
    return arms
