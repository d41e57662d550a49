"""Lines of gradient_bandit by hand: the constant step is fast, or no faster than its rival."""

from __future__ import annotations

from random import Random
from typing import Any

Lines = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Lines:
    """Rate 1/t, and a tenth of the rival's distance."""
    return _arms(seed, -1.0, {"constant": 1e-3, "decaying": 1e-2, "noisy": 1e-1})


def false(seed: int) -> Lines:
    """A flat slope, and no closer than the rival."""
    return _arms(seed, -0.4, {"constant": 1e-2, "decaying": 1e-2, "noisy": 1e-1})


def _arms(seed: int, slope: float, gaps: dict[str, float]) -> Lines:
    noise = Random(seed)
    return {
        arm: [
            {
                "kind": "run",
                "gap": [10 * gap, gap * noise.uniform(0.95, 1.05)],
                "slope": slope + noise.gauss(0, 0.01),
            },
            {"kind": "spent", "arm": "", "scored": 100, "updates": 100, "seconds": 1.0},
        ]
        for arm, gap in gaps.items()
    }
