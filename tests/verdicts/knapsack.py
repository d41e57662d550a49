"""Divided budgets by hand: more useful and more right, or neither."""

from __future__ import annotations

from random import Random
from typing import Any

from verdicts.curves import run

Lines = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Lines:
    """More groups with both answers, and more right answers."""
    return _arms(seed, 0.7, 0.8)


def false(seed: int) -> Lines:
    """As many as with equal numbers."""
    return _arms(seed, 0.4, 0.6)


def _arms(seed: int, useful: float, end: float) -> Lines:
    noise, arms = Random(seed), {}
    for arm, (share, last) in {
        "mine": (useful, end),
        "uniform": (0.4, 0.6),
        "shuffled": (0.4, 0.6),
    }.items():
        arms[arm] = run([0.3, last - 0.1, last + noise.gauss(0, 0.005)])
        for r in arms[arm]:
            if r["step"]:
                said = {"budget/most": 20.0, "budget/frac_useful": share + noise.gauss(0, 0.005)}
                r["stats"] = {**r["stats"], **said}
    return arms
