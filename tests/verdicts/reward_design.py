"""Curves of learners under designed rewards: designs that teach, and one that does not."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

FAST, SLOW = [0.0, 0.4, 0.6, 0.6], [0.0, 0.0, 0.1, 0.4]
TRUE = {
    "original": SLOW,
    "explicable": FAST,
    "random states": SLOW,
    "teacher": FAST,
    "teacher once": SLOW,
    "explore": FAST,
    "bonus": SLOW,
}


def _arms(curves: dict[str, list[float]], seed: int) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)
    return {a: run([g + noise.gauss(0, 0.01) for g in golds]) for a, golds in curves.items()}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Every design teaches faster than what it is compared with."""
    return _arms(TRUE, seed)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The explicable reward is no better than the original one."""
    return _arms({**TRUE, "explicable": SLOW, "original": FAST}, seed)
