"""Arms of sparse_po by hand: learned weights lie above all rivals, or below random ones."""

from __future__ import annotations

from random import Random

from assay.core.paper import Arms
from verdicts.curves import run

LOW, HIGH = [1.5, 1.7, 1.8, 1.7], [1.5, 1.9, 2.1, 2.0]


def true(seed: int) -> Arms:
    """Learned weights lie above every rival."""
    return _arms(seed, {"mine": HIGH, "dpo": LOW, "ones": LOW, "shuffled": LOW})


def false(seed: int) -> Arms:
    """They lie below the same weights at random places: what they know of tokens does harm."""
    return _arms(seed, {"mine": LOW, "dpo": LOW, "ones": LOW, "shuffled": HIGH})


def _arms(seed: int, curves: dict[str, list[float]]) -> Arms:
    noise = Random(seed)
    return {arm: run([g + noise.gauss(0, 0.01) for g in c]) for arm, c in curves.items()}
