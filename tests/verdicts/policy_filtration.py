"""Curves for which completions chosen by rank are worth more, and for which two at random do."""

from __future__ import annotations

import random

from verdicts.curves import run

Arms = dict[str, list[dict[str, object]]]


def _arms(seed: int, ends: dict[str, float]) -> Arms:
    noise = random.Random(seed)
    sure = {"surer/best_worst": 0.2 + noise.gauss(0, 0.01)}
    sure |= {"r2/best": 0.1, "r2/best_random": 0.6, "r2/best_worst": 0.4}
    return {
        arm: run([0.0, 0.4 * end, 0.8 * end, end + noise.gauss(0, 0.02)], stats=sure)
        for arm, end in ends.items()
    }


def true(seed: int) -> Arms:
    """The rule with the highest R² is the best of the three, and better than chance and all."""
    rules = {"best": 0.1, "best_random": 1.5, "best_worst": 0.6}
    return _arms(seed, {"mine": 1.5, "random": 0.5, "all": 0.7, **rules})


def false(seed: int) -> Arms:
    """Two completions at random do as well."""
    rules = {"best": 0.1, "best_random": 1.5, "best_worst": 0.6}
    return _arms(seed, {"mine": 1.5, "random": 1.5, "all": 0.7, **rules})
