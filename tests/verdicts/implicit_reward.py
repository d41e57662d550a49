"""Lines of implicit_reward's arms by hand: DPO after the Pearson form ends higher, or lower."""

from __future__ import annotations

from random import Random
from typing import Any

Lines = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Lines:
    """Higher than after SFT, and than with misplaced probabilities."""
    return _arms(seed, {"pearson": 2.3, "sft": 2.0, "misplaced": 2.0})


def false(seed: int) -> Lines:
    """SFT goes further, and further is better."""
    return _arms(seed, {"pearson": 2.0, "sft": 2.3, "misplaced": 1.9})


def _arms(seed: int, gold: dict[str, float]) -> Lines:
    noise, spent = Random(seed), {"kind": "spent", "arm": "", "labels": 400, "updates": 100}
    return {
        arm: [{"kind": "run", "gold": g + noise.gauss(0, 0.01)}, spent] for arm, g in gold.items()
    }
