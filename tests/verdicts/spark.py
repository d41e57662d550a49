"""Arms of the claim of spark, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Items teach more than further steps, and shuffled items teach nothing."""
    return _arms(seed, mine=0.8, steps=0.6, shuffled=0.4)


def false(seed: int) -> Arms:
    """Further steps teach more."""
    return _arms(seed, mine=0.6, steps=0.8, shuffled=0.5)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.2, 0.3, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
