"""Ends of runs by hand: moving weights come nearer to the front's middle, or nowhere nearer."""

from __future__ import annotations

from random import Random
from typing import Any

from verdicts.curves import run

Lines = dict[str, list[dict[str, Any]]]
SWEEP = {"0.1": (0.1, 0.6), "0.3": (0.2, 0.5), "0.5": (0.3, 0.3), "0.7": (0.5, 0.2)}
SWEEP |= {"0.9": (0.6, 0.1)}


def true(seed: int) -> Lines:
    """Moving weights dominate more."""
    moving = {"hypervolume": (0.6, 0.6), "gradient": (0.7, 0.7)}
    return _arms(seed, {**moving, "fixed": (0.4, 0.4), "drift": (0.3, 0.3), **SWEEP})


def false(seed: int) -> Lines:
    """All long runs end where fixed weights do."""
    return _arms(
        seed,
        {**dict.fromkeys(("hypervolume", "gradient", "fixed", "drift"), (0.4, 0.4)), **SWEEP},
    )


def _arms(seed: int, ends: dict[str, tuple[float, float]]) -> Lines:
    noise, arms = Random(seed), {}
    for arm, (first, second) in ends.items():
        arms[arm] = run([0.0, first])
        for r, part in zip(arms[arm], (0.5, 1.0), strict=False):
            r["stats"] |= {
                "exact/objective0": part * first + noise.gauss(0, 0.002),
                "exact/objective1": part * second + noise.gauss(0, 0.002),
                "exact/front": 1.0,
            }
    return arms
