"""Arms of the claim of mrt, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Progress teaches more than outcomes, and than the progress of other blocks."""
    return _arms(seed, mine=0.7, outcome=0.6, shuffled=0.62)


def false(seed: int) -> Arms:
    """The progress of other blocks teaches as much and more."""
    return _arms(seed, mine=0.7, outcome=0.6, shuffled=0.75)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.3, 0.4, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
