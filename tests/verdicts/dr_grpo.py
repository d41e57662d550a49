"""Lines of dr_grpo's arms by hand: shorter and as right, or as long as GRPO's."""

from __future__ import annotations

from random import Random
from typing import Any

from verdicts.curves import run

Lines = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Lines:
    """Shorter than both, and as right."""
    return _arms(seed, {"mine": 12.0, "grpo": 16.0, "divided": 15.0})


def false(seed: int) -> Lines:
    """Longer than both."""
    return _arms(seed, {"mine": 16.0, "grpo": 12.0, "divided": 12.0})


def _arms(seed: int, length: dict[str, float]) -> Lines:
    noise, arms = Random(seed), {}
    for arm, tokens in length.items():
        arms[arm] = run([0.5, 0.6, 0.7 + noise.gauss(0, 0.001)])
        for r in arms[arm]:
            r["stats"] = {"completions/mean_length": tokens + noise.gauss(0, 0.1)}
    return arms
