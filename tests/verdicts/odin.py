"""Curves of policies under reward models that are kept from an attribute, and under plain ones."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

KEPT, LINEAR, PLAIN = [0.0, 4.0, 8.0, 10.0], [0.0, 2.0, 3.0, 3.0], [0.0, 0.5, -5.0, -20.0]


def _arms(mine: list[float], seed: int) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)
    curves = {"mine": mine, "labels' own": LINEAR, "single": PLAIN, "shuffled": PLAIN}
    return {
        a: run([g if i == 0 else g + noise.gauss(0, 0.01) for i, g in enumerate(golds)])
        for a, golds in curves.items()
    }


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The fit keeps more gold than all others."""
    return _arms(KEPT, seed)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The labels' own model keeps more."""
    return _arms([0.0, 1.0, 1.0, 0.0], seed)
