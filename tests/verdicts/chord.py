"""Arms of the claim of chord, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Both losses together end above either alone, and where p(1 − p) weighs, above its mean."""
    return _arms(seed, mine=0.7, rewards=0.6, imitation=0.5, matched=0.65)


def false(seed: int) -> Arms:
    """Both together end above either alone, and p(1 − p) by token is worth less than its mean."""
    return _arms(seed, mine=0.7, rewards=0.6, imitation=0.5, matched=0.76)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.2, 0.3, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
