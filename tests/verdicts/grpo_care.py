"""Arms of the claim of grpo_care, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """The bonus brings answers and steps, and at random it brings fewer steps."""
    return _arms(seed, mine=(0.7, 0.8), plain=(0.6, 0.7), shuffled=(0.65, 0.72))


def false(seed: int) -> Arms:
    """The bonus brings answers and steps, and at random it brings more steps."""
    return _arms(seed, mine=(0.7, 0.8), plain=(0.6, 0.7), shuffled=(0.7, 0.85))


def _arms(seed: int, **ends: tuple[float, float]) -> Arms:
    noise, arms = random.Random(seed), Arms()
    for arm, (answers, steps) in ends.items():
        arms[arm] = run([0.2, 0.3, answers + noise.gauss(0, 0.01)])
        for reading in arms[arm]:
            reading["golds"] = [reading["gold"], steps + noise.gauss(0, 0.01)]
    return arms
