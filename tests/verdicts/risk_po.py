"""Shares of right answers by hand: risk ends higher than its rivals, or no higher."""

from __future__ import annotations

from random import Random
from typing import Any

from verdicts.curves import run

Lines = dict[str, list[dict[str, Any]]]
RIVALS = ("group", "shifted", "centred")


def true(seed: int) -> Lines:
    """A tenth above every rival."""
    return _arms(seed, 0.8)


def false(seed: int) -> Lines:
    """As good as its rivals."""
    return _arms(seed, 0.68)


def _arms(seed: int, mine: float) -> Lines:
    noise = Random(seed)
    ends = {"mine": mine, **dict.fromkeys(RIVALS, 0.7)}
    return {arm: run([0.4, 0.6, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
