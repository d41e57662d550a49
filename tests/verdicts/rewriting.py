"""Ends of a sweep by hand: the weight trades one reward for the other, or moves neither."""

from __future__ import annotations

from random import Random
from typing import Any

from verdicts.curves import run

Lines = dict[str, list[dict[str, Any]]]
TRUE = {"right": (0.9, 0.3), "middle": (0.7, 0.6), "short": (0.2, 0.9), "shuffled": (0.5, 0.4)}


def true(seed: int) -> Lines:
    """A trade."""
    return _arms(seed, TRUE)


def false(seed: int) -> Lines:
    """Every weight ends at the same policy."""
    return _arms(seed, dict.fromkeys(TRUE, (0.6, 0.5)))


def _arms(seed: int, ends: dict[str, tuple[float, float]]) -> Lines:
    noise, arms = Random(seed), {}
    for arm, (right, short) in ends.items():
        arms[arm] = run([0.5, 0.5, right + noise.gauss(0, 0.005)])
        for r in arms[arm]:
            r["golds"] = [r["gold"], 0.5, short + noise.gauss(0, 0.001), 0.9]
    return arms
