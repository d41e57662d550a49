"""Curves of gold by hand: chosen rollouts learn faster than all, or do not."""

from __future__ import annotations

from random import Random
from typing import Any

from verdicts.curves import run

Lines = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Lines:
    """Faster than GRPO and than a random choice."""
    return _arms(seed, {"mine": 2.0, "grpo": 1.5, "random": 1.2, "unrelaxed": 1.8})


def false(seed: int) -> Lines:
    """As fast as GRPO."""
    return _arms(seed, {"mine": 1.5, "grpo": 1.5, "random": 1.5, "unrelaxed": 1.5})


def _arms(seed: int, ends: dict[str, float]) -> Lines:
    noise = Random(seed)
    return {arm: run([0.0, end / 2, end + noise.gauss(0, 0.02)]) for arm, end in ends.items()}
