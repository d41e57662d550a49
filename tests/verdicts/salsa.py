"""Curves of policies under anchors: a soup that gives more gold at equal KL, or less."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

MORE, LESS = [0.0, 1.0, 1.2, 1.0], [0.0, 0.5, 0.5, 0.0]


def _arms(
    soup: list[float], rest: list[float], seed: int, start: list[float] | None = None
) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)
    curves = {"soup": soup, "first": rest, "start": start or rest, "elsewhere": rest}
    return {
        a: run([g if i == 0 else g + noise.gauss(0, 0.01) for i, g in enumerate(golds)])
        for a, golds in curves.items()
    }


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The soup gives more."""
    return _arms(MORE, LESS, seed)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """It gives more than one policy, and less than their common start."""
    return _arms(MORE, LESS, seed, start=[0.0, 1.2, 1.5, 1.4])
