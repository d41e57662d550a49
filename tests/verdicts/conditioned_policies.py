"""Families of policies by weighting: one that covers a front, and one that covers nothing."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import reading


def _family(reach: float, seed: int) -> list[dict[str, Any]]:
    noise = random.Random(seed).gauss(0, 0.01)
    ends = {"w=1,0": (reach + noise, 0.1), "w=0,1": (0.1, reach + noise)}
    start = reading(0, 0.0, 0.0, "reference", rewards=[0.0, 0.0])
    return [start, *(reading(1, 0.0, 1.0, w, rewards=list(r)) for w, r in ends.items())]


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The conditioned policy reaches further than soups and than the shuffled one."""
    return {
        "mine": _family(30.0, seed),
        "soups": _family(1.0, seed),
        "shuffled": _family(0.5, seed),
    }


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Soups reach further."""
    return {
        "mine": _family(1.0, seed),
        "soups": _family(30.0, seed),
        "shuffled": _family(0.5, seed),
    }
