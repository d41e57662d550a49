"""Arms of the claim of lp_reg, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Unlikely tokens that are held bring answers, and tokens at random bring fewer."""
    return _arms(seed, mine=0.7, none=0.6, random=0.62)


def false(seed: int) -> Arms:
    """Tokens that are held at random bring as many answers and more."""
    return _arms(seed, mine=0.7, none=0.6, random=0.75)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.3, 0.4, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
