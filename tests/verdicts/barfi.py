"""Curves of blends that keep what is good, and of one that a heuristic leads astray."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

GOOD, NONE = 0.7, 0.0
TRUE = {
    "primary": GOOD,
    **{f"learned {c}": GOOD for c in ("useless", "adversarial")},
    "sum useless": NONE,
    "sum adversarial": NONE,
    "shuffled adversarial": NONE,
}


def _arms(last: dict[str, float], seed: int) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)
    return {a: run([0.0, 0.1, g + noise.gauss(0, 0.003)]) for a, g in last.items()}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The blend earns what the best arm does in each column."""
    return _arms(TRUE, seed)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """It follows every heuristic halfway."""
    return _arms({**TRUE, **{k: 0.3 for k in TRUE if k.startswith("learned")}}, seed)
