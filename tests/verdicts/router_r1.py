"""Arms of the claim of router_r1, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Turns bring answers, and a weight on the cost saves, dealt costs not."""
    return _arms(seed, mine=(0.9, 8.0), once=(0.8, 6.0), cheap=(0.85, 4.0), dealt=(0.85, 8.0))


def false(seed: int) -> Arms:
    """Turns bring answers, and costs dealt at random save as much."""
    return _arms(seed, mine=(0.9, 8.0), once=(0.8, 6.0), cheap=(0.85, 4.0), dealt=(0.85, 3.0))


def _arms(seed: int, **ends: tuple[float, float]) -> Arms:
    noise = random.Random(seed)
    arms = {}
    for arm, (right, cost) in ends.items():
        arms[arm] = run([0.5, 0.6, right + noise.gauss(0, 0.01)])
        for reading in arms[arm]:
            reading["golds"] = [reading["gold"], cost + noise.gauss(0, 0.1)]
    return arms
