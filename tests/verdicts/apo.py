"""Arms of the claim of apo, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """The factor by difficulty brings answers, and length is paid for by the long."""
    return _arms(seed, {"mine": 0.7, "constant": 0.6, "mean": 0.62, "dealt": 0.7}, short=9.0)


def false(seed: int) -> Arms:
    """A smaller constant weight brings as many answers, and wrong ones stay as long."""
    return _arms(seed, {"mine": 0.6, "constant": 0.6, "mean": 0.62, "dealt": 0.6}, short=12.0)


def _arms(seed: int, ends: dict[str, float], *, short: float) -> Arms:
    noise = random.Random(seed)
    arms = {}
    for arm, end in ends.items():
        arms[arm] = run([0.3, 0.5 * end + 0.15 + noise.gauss(0, 0.01), end + noise.gauss(0, 0.01)])
        for r in arms[arm]:
            length = (short if arm in ("mine", "mean") else 12.0) + noise.gauss(0, 0.1)
            r["stats"] = {**r["stats"], "stcr/wrong_length": length}
    return arms
