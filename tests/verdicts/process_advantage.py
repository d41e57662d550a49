"""Arms of process_advantage by hand: progress that is paid teaches faster, or does not."""

from __future__ import annotations

from random import Random

from assay.core.paper import Arms
from verdicts.curves import run

SLOW, FAST = [0.0, 0.1, 0.3, 0.5, 0.6], [0.0, 0.3, 0.5, 0.6, 0.6]
OTHERS = ("self", "shuffled", "outcome")


def true(seed: int) -> Arms:
    """The best of four as prover teaches faster than every other arm."""
    return _arms(seed, {"best": FAST, **dict.fromkeys(OTHERS, SLOW)})


def false(seed: int) -> Arms:
    """It teaches as fast as they do."""
    return _arms(seed, {"best": SLOW, **dict.fromkeys(OTHERS, SLOW)})


def _arms(seed: int, curves: dict[str, list[float]]) -> Arms:
    noise = Random(seed)
    return {arm: run([g + noise.gauss(0, 0.005) for g in c]) for arm, c in curves.items()}
