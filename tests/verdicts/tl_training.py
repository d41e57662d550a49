"""Arms of the claim of tl_training, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Each of the three parts brings right calls, and weights on random tokens bring fewer."""
    return _arms(seed, mine=0.9, all=0.8, equal=0.82, exact=0.8, imitation=0.6, random=0.8)


def false(seed: int) -> Arms:
    """Weights on random tokens bring as many right calls and more."""
    return _arms(seed, mine=0.9, all=0.8, equal=0.82, exact=0.8, imitation=0.6, random=0.95)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.5, 0.6, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
