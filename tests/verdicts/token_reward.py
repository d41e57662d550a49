"""Arms of token_reward by hand: the token term raises the peak, or does not."""

from __future__ import annotations

from random import Random

from assay.core.paper import Arms
from verdicts.curves import run

LOW, HIGH = [1.2, 1.4, 1.5, 1.2], [1.2, 1.5, 1.9, 1.6]


def true(seed: int) -> Arms:
    """The signal at its own places reaches a higher peak than DPO and than random places."""
    return _arms(seed, {"mine": HIGH, "dpo": LOW, "shuffled": LOW})


def false(seed: int) -> Arms:
    """Random places do as well, and DPO too."""
    return _arms(seed, {"mine": LOW, "dpo": LOW, "shuffled": LOW})


def _arms(seed: int, curves: dict[str, list[float]]) -> Arms:
    noise = Random(seed)
    return {arm: run([g + noise.gauss(0, 0.01) for g in c]) for arm, c in curves.items()}
