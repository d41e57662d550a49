"""Arms of preference_strength by hand: repaired pairs are worth more at equal KL, or are not."""

from __future__ import annotations

from random import Random

from assay.core.paper import Arms
from verdicts.curves import run

PLAIN, REPAIRED = [0.0, 1.0, 1.5, 0.0], [0.0, 2.0, 3.0, 2.0]
OTHERS = ("single", "drop", "shuffled")


def true(seed: int) -> Arms:
    """Repair is worth more than no repair, leaving out, and repairing others; contrast, too."""
    return _arms(seed, {"mine": REPAIRED, "contrast": REPAIRED, **dict.fromkeys(OTHERS, PLAIN)})


def false(seed: int) -> Arms:
    """It is worth the same."""
    return _arms(seed, {"mine": PLAIN, "contrast": PLAIN, **dict.fromkeys(OTHERS, PLAIN)})


def _arms(seed: int, curves: dict[str, list[float]]) -> Arms:
    noise = Random(seed)
    return {arm: run([g + noise.gauss(0, 0.01) for g in c]) for arm, c in curves.items()}
