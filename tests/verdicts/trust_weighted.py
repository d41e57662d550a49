"""Arms of the claim of trust_weighted, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Untrusted thinking does harm, and trust in the right prompts undoes it."""
    return _arms(seed, answers=0.6, annealed=0.4, trusted=0.6, shuffled=0.45, mean=0.45)


def false(seed: int) -> Arms:
    """Untrusted thinking does harm, and trust makes it worse than the same weights elsewhere."""
    return _arms(seed, answers=0.6, annealed=0.4, trusted=0.35, shuffled=0.4, mean=0.4)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.2, 0.3, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
