"""Curves for which constraints beat fixed weights, and for which they do not."""

from __future__ import annotations

import random

from verdicts.curves import run
from verdicts.recipes import FALLS

Arms = dict[str, list[dict[str, object]]]


def _arms(seed: int, ends: dict[str, float]) -> Arms:
    noise = random.Random(seed)
    arms = {arm: run([0.0, 0.5, 0.8, end + noise.gauss(0, 0.05)]) for arm, end in ends.items()}
    return {**arms, "single": run([g + noise.gauss(0, 0.01) for g in FALLS])}


def true(seed: int) -> Arms:
    """Points are worth more than weights, given or found, and following them is what counts."""
    return _arms(seed, {"given": 3.0, "sum": 1.0, "found": 4.0, "weights": 1.0, "random": 0.0})


def false(seed: int) -> Arms:
    """A sum with a tuned price on KL is as good as points are."""
    return _arms(seed, {"given": 1.0, "sum": 1.0, "found": 4.0, "weights": 1.0, "random": 0.0})
