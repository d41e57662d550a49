"""Arms of the claim of hl_gauss, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Classified values explain more and teach more than regressed ones."""
    return _arms(seed, mine=(0.7, 0.4), scalar=(0.6, 0.2), squared=(0.62, 0.2))


def false(seed: int) -> Arms:
    """They explain more, and the softmax alone teaches as much and more."""
    return _arms(seed, mine=(0.7, 0.4), scalar=(0.6, 0.2), squared=(0.75, 0.3))


def _arms(seed: int, **ends: tuple[float, float]) -> Arms:
    noise = random.Random(seed)

    def stats(seen: float) -> dict[str, float]:
        return {"explained_variance": seen + noise.gauss(0, 0.01)}

    return {
        arm: run([0.3, 0.4, end + noise.gauss(0, 0.01)], stats=stats(seen))
        for arm, (end, seen) in ends.items()
    }
