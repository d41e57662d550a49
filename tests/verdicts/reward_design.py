"""Curves of learners under explicable rewards: designs that teach, and one that does not."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

FAST, SLOW = [0.0, 0.4, 0.6, 0.6], [0.0, 0.0, 0.1, 0.4]
RIVALS = {"original": SLOW, "random states": SLOW}


def _arms(curves: dict[str, list[float]], seed: int) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)
    return {a: run([g + noise.gauss(0, 0.01) for g in golds]) for a, golds in curves.items()}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """It teaches faster than both."""
    return _arms({**RIVALS, "explicable": FAST}, seed)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """It teaches no faster than either."""
    return _arms({**RIVALS, "explicable": SLOW}, seed)
