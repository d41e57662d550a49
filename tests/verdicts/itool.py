"""Arms of the claim of itool, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Fragments of hard calls teach more than any fragments, whole calls, and coins."""
    return _arms(seed, mine=0.8, anywhere=0.7, whole=0.7, coins=0.4)


def false(seed: int) -> Arms:
    """Fragments of calls anywhere teach as much."""
    return _arms(seed, mine=0.8, anywhere=0.85, whole=0.7, coins=0.4)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.4, 0.45, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
