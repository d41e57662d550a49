"""Lines of the study in which DPO leaves wrong pairs wrong, and in which it mends them."""

from __future__ import annotations

import random
from typing import Any


def _arms(seed: int, after: float, flipped: float) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed).gauss(0, 0.01)
    ideal = {"idealised": 0.9, "idealised_flipped": 0.8, "class_optimum": 0.8}
    line = {**ideal, "held_out_loss": 0.6 + noise, "after": after + noise}
    spent = {"kind": "spent", "arm": "", "updates": 10}
    return {
        "shared": [{**line, "flipped": flipped + noise}, spent],
        "own": [{**line, "after": 0.88, "flipped": 0.9}, spent],
    }


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """One in five flips."""
    return _arms(seed, 0.7, 0.2)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Nearly all flip, and the optimum is reached."""
    return _arms(seed, 0.9, 0.9)
