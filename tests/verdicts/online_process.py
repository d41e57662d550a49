"""Arms of online_process by hand: steps that are paid well learn faster, or do not."""

from __future__ import annotations

from random import Random

from assay.core.paper import Arms
from verdicts.curves import run

SLOW, FAST = [0.0, 0.1, 0.3, 0.5, 0.6], [0.0, 0.3, 0.5, 0.6, 0.6]
MAP = {"outcome": SLOW, "random": SLOW, "oracle": FAST}


def true(seed: int) -> Arms:
    """The implicit process reward learns faster than outcomes and than random payments."""
    return _arms(seed, {**MAP, "implicit": FAST})


def false(seed: int) -> Arms:
    """It learns as fast as both."""
    return _arms(seed, {**MAP, "implicit": SLOW})


def _arms(seed: int, curves: dict[str, list[float]]) -> Arms:
    noise = Random(seed)
    return {arm: run([g + noise.gauss(0, 0.005) for g in c]) for arm, c in curves.items()}
