"""Arms of the claim of trust_weighted, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Trusted thinking is worth more than none, and γ more than the gate."""
    return _arms(seed, answers=0.5, annealed=0.4, trusted=0.6, gate=0.5, shuffled=0.45)


def false(seed: int) -> Arms:
    """Trust is worth more than annealing alone, and it is the gate."""
    return _arms(seed, answers=0.3, annealed=0.3, trusted=0.5, gate=0.52, shuffled=0.48)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.2, 0.3, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
