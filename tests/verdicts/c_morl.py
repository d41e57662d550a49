"""Readings by hand: extensions that dominate more than further weightings, or no more."""

from __future__ import annotations

from random import Random
from typing import Any

from verdicts.curves import run

Lines = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Lines:
    """Extended policies lie between the corners."""
    return _arms(seed, {"extended": 0.7, "weightings": 0.6, "free": 0.5})


def false(seed: int) -> Lines:
    """They reach what more weightings do."""
    return _arms(seed, {"extended": 0.6, "weightings": 0.6, "free": 0.5})


def _arms(seed: int, ends: dict[str, float]) -> Lines:
    noise, arms = Random(seed), {}
    for arm, middle in ends.items():
        arms[arm] = run([0.0, middle])
        for r, part in zip(arms[arm], (0.5, 1.0), strict=False):
            first, second = (part * middle + noise.gauss(0, 0.002) for _ in range(2))
            exact = {"exact/objective0": first, "exact/objective1": second, "exact/front": 1.0}
            r["stats"] = {**r["stats"], **exact}
    return arms
