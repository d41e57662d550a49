"""Curves on which the network's quantile keeps its gold, and on which weights without features do
as well.
"""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

OTHERS = ("uncalibrated", "global weights", "shuffled labels")


def _arms(seed: int, others: list[float]) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)

    def shaken(golds: list[float]) -> list[dict[str, Any]]:
        return run([golds[0], *(g + noise.gauss(0, 0.01) for g in golds[1:])])

    arms = {"mine": [0.0, 1.0, 2.0, 2.5], "single": [0.0, 1.0, 1.0, -1.0]}
    return {k: shaken(v) for k, v in (arms | dict.fromkeys(OTHERS, others)).items()}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The others turn."""
    return _arms(seed, [0.0, 1.0, 1.0, 0.0])


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The others end where it does."""
    return _arms(seed, [0.0, 1.0, 2.0, 2.5])
