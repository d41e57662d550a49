"""Lines of mode_seeking by hand: own completions and negative gradients earn more, or do not."""

from __future__ import annotations

from random import Random
from typing import Any

FAR = {"on": 0.8, "off": 0.5, "positive": 0.2, "best_of_n": 0.3, "pref_ft": 0.2, "mixed": 0.04}
NEAR = {"on": 0.95, "off": 0.9, "positive": 0.6, "best_of_n": 0.92, "pref_ft": 0.6, "mixed": 0.4}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Both help where the best bins are far from the data, and need not where they are near."""
    return _arms(seed, FAR, NEAR)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Imitating the best of n earns more than either."""
    return _arms(seed, {**FAR, "best_of_n": 0.9}, NEAR)


def _arms(
    seed: int, far: dict[str, float], near: dict[str, float]
) -> dict[str, list[dict[str, Any]]]:
    noise, out = Random(seed), dict[str, list[dict[str, Any]]]()
    for arm in far:
        runs = [
            {"kind": "run", "centre": c, "mean": means[arm] + noise.gauss(0, 0.01)}
            for c, means in ((70.0, far), (20.0, near))
        ]
        spent = {"kind": "spent", "arm": "", "scored": 40000, "updates": 200, "seconds": 1.0}
        out[arm] = [*runs, spent]
    return out
