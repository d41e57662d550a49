"""Correlations with scale that fall along the chain, and that do not."""

from __future__ import annotations

import random
from typing import Any

from assay.recipes.continuous_metrics import CHAIN, FAMILIES


def _arms(seed: int, falls_to: float) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)
    lines: list[dict[str, Any]] = []
    for family in FAMILIES:
        for metric in CHAIN:
            at = 0.8 if metric in ("log_p", "p") else falls_to
            at = 0.7 if family == "common" else at
            line = {"family": family, "metric": metric, "spearman": at + noise.gauss(0, 0.01)}
            lines.append({**line, "largest": 0.5, "chance": 0.25})
        lines.append({"kind": "spent", "arm": family, "updates": 100, "scored": 10})
    return {"study": lines}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """From 0.8 to 0.2."""
    return _arms(seed, 0.2)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """It stays at 0.8 to the end."""
    return _arms(seed, 0.8)
