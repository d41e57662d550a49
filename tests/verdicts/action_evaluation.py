"""Answers that stand above those about other steps, and that stand below them."""

from __future__ import annotations

import random
from typing import Any


def _arms(seed: int, advantage: float, exchanged: float) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)
    dealt = {"dealt": seed % 28, "of": 28, "about": "pick up the key"}
    own, other = (v + noise.gauss(0, 0.1) for v in (advantage, exchanged))
    spent = [{"kind": "spent", "arm": a, "scored": 1200} for a in ("own", "exchanged")]
    return {"study": [{**dealt, "advantage": own, "exchanged": other}, *spent]}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The model knows what a step reached, and reads which subgoal is asked for."""
    return _arms(seed, 0.6, 0.1)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """It says less of steps that reach something."""
    return _arms(seed, -0.3, -0.3)
