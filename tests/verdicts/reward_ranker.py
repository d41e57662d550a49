"""Arms of the claim of reward_ranker, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Failures that the ranker liked teach it more than others and than coins."""
    return _arms(seed, mine=0.8, others=0.7, untrained=0.65, coins=0.4)


def false(seed: int) -> Arms:
    """Other failures teach it as much and more."""
    return _arms(seed, mine=0.8, others=0.85, untrained=0.65, coins=0.4)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.4, 0.45, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
