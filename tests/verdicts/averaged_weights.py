"""Lines of averaged_weights by hand: the average selects better, or does not."""

from __future__ import annotations

from random import Random
from typing import Any

from assay.core.paper import Arms

KINDS = {"mine": "weights", "mean": "scores", "single": "member"}


def true(seed: int) -> Arms:
    """The best of n by averaged weights has more gold."""
    return _arms(seed, {"weights": 0.9, "scores": 0.6, "member": 0.5})


def false(seed: int) -> Arms:
    """It has no more gold."""
    return _arms(seed, dict.fromkeys(KINDS.values(), 0.5))


def _arms(seed: int, told: dict[str, float]) -> Arms:
    noise = Random(seed)

    def line(kind: str) -> dict[str, Any]:
        return {"kind": "judged", "reward": kind, "best": told[kind] + noise.gauss(0, 0.003)}

    spent = {"kind": "spent", "arm": "", "updates": 900, "labels": 1000, "generated": 2000}
    return {arm: [line(kind), spent] for arm, kind in KINDS.items()}
