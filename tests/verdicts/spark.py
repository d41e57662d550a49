"""Arms of the claim of spark, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Items teach more than further steps, also to judge, and shuffled items teach nothing."""
    return _arms(seed, mine=(0.8, 0.8), steps=(0.6, 0.5), shuffled=(0.4, 0.5))


def false(seed: int) -> Arms:
    """The judge becomes one, and further steps teach more."""
    return _arms(seed, mine=(0.6, 0.8), steps=(0.8, 0.5), shuffled=(0.5, 0.5))


def _arms(seed: int, **ends: tuple[float, float]) -> Arms:
    noise, out = random.Random(seed), Arms()
    for arm, (end, judge) in ends.items():
        out[arm] = run([0.2, 0.3, end + noise.gauss(0, 0.01)])
        for reading in out[arm]:
            judged = {"judge/balanced": judge + noise.gauss(0, 0.01)}
            reading["stats"] = {**reading["stats"], **judged}
    return out
