"""Arms of token_reward by hand: the token term raises peak and end, or ruins what it raised."""

from __future__ import annotations

from random import Random

from assay.core.paper import Arms
from verdicts.curves import run

LOW, HIGH, RUINED = [1.2, 1.4, 1.5, 1.2], [1.2, 1.5, 1.9, 1.6], [1.2, 1.5, 1.9, -0.4]


def true(seed: int) -> Arms:
    """The signal at its own places peaks and ends higher than DPO and than random places."""
    return _arms(seed, {"mine": HIGH, "dpo": LOW, "shuffled": LOW})


def false(seed: int) -> Arms:
    """The peak is higher, and the run ends in ruins: a verdict on peaks alone would not see it."""
    return _arms(seed, {"mine": RUINED, "dpo": LOW, "shuffled": LOW})


def _arms(seed: int, curves: dict[str, list[float]]) -> Arms:
    noise = Random(seed)
    return {arm: run([g + noise.gauss(0, 0.01) for g in c]) for arm, c in curves.items()}
