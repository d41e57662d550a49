"""Mirror prox five decades nearer where there are cycles alone, and one only as near as descent."""

from __future__ import annotations

import random
from typing import Any

from verdicts.nash_md import Arms, game


def _arms(seed: int, ends: dict[str, float]) -> Arms:
    noise = random.Random(seed)
    found: dict[str, list[dict[str, Any]]] = {}
    for arm, end in ends.items():
        found[arm] = game([0.1, 0.1, 10 ** (end + noise.gauss(0, 0.05))], 0.1)
    return found


def true(seed: int) -> Arms:
    """Six decades in rock-paper-scissors, and behind in the transitive game."""
    near = {"mine": -7.0, "descent": -1.0, "blind": 0.3}
    return _arms(seed, {**near, "transitive": -5.0, "transitive descent": -8.0})


def false(seed: int) -> Arms:
    """Tuned descent is as near."""
    near = {"mine": -7.0, "descent": -7.0, "blind": 0.3}
    return _arms(seed, {**near, "transitive": -5.0, "transitive descent": -8.0})
