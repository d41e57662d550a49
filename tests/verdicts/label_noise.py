"""Audits that the noise matrix corrects, and audits that it makes no better."""

from __future__ import annotations

import random
from typing import Any

from assay.recipes.label_noise import METHODS


def _arms(seed: int, corrected: float) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)
    right = {"independent": ("global",), "leaning": ("local",)}
    lines: list[dict[str, Any]] = [
        {
            "raters": raters,
            **{
                f"{m}_error": (corrected if m in mine else 0.05) + noise.gauss(0, 0.001)
                for m in METHODS
            },
            "own_matrix_error": corrected + noise.gauss(0, 0.001),
            "other_matrix_error": 0.05 + noise.gauss(0, 0.001),
        }
        for raters, mine in right.items()
    ]
    spent = [{"kind": "spent", "arm": m, "labels": 100, "scored": 10} for m in METHODS]
    return {"study": [*lines, *spent]}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Corrected audits miss by a point, the others by five."""
    return _arms(seed, 0.01)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """All miss by five points."""
    return _arms(seed, 0.05)
