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
    """The conditioned policy reaches further than soups, which leave room, and than the others."""
    return _arms(seed, mine=0.9, soups=0.6, prompt=0.5, shuffled=0.4, bound=1.0)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Soups reach further, though they leave room."""
    return _arms(seed, mine=0.4, soups=0.6, prompt=0.3, shuffled=0.2, bound=1.0)


def _arms(seed: int, **reach: float) -> dict[str, list[dict[str, Any]]]:
    return {arm: _family(r, seed + i) for i, (arm, r) in enumerate(reach.items())}
