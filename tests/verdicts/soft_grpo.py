"""Arms of the claim of soft_grpo, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Thoughts answer as often as tokens, and solve more problems in eight tries."""
    return _arms(seed, mine=(0.7, 0.97), tokens=(0.69, 0.9), uncredited=(0.6, 0.9))


def false(seed: int) -> Arms:
    """They solve more in eight tries, and do so without being credited."""
    return _arms(seed, mine=(0.7, 0.97), tokens=(0.69, 0.9), uncredited=(0.75, 0.97))


def _arms(seed: int, **ends: tuple[float, float]) -> Arms:
    noise = random.Random(seed)

    def stats(some: float) -> dict[str, float]:
        return {"pass_n": some + noise.gauss(0, 0.005)}

    return {
        arm: run([0.3, 0.4, end + noise.gauss(0, 0.005)], stats=stats(some))
        for arm, (end, some) in ends.items()
    }
