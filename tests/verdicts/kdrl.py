"""Arms of the claim of kdrl, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Both together end above rewards, the teacher, and one after the other."""
    return _arms(seed, mine=0.7, rewards=0.5, teacher=0.6, then=0.62, k1=0.5)


def false(seed: int) -> Arms:
    """Both together end above rewards, and the teacher alone above both."""
    return _arms(seed, mine=0.7, rewards=0.5, teacher=0.72, then=0.62, k1=0.5)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.2, 0.3, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
