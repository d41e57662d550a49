"""Lines of averaged_weights by hand: the average forgets and selects better, or does neither."""

from __future__ import annotations

from random import Random
from typing import Any

from assay.core.paper import Arms


def true(seed: int) -> Arms:
    """Weights forget wrong labels, and their best of n has more gold."""
    return _arms(seed, {"weights": (0.7, 0.9), "scores": (0.9, 0.6), "member": (0.9, 0.5)})


def false(seed: int) -> Arms:
    """Nothing is forgotten, and the best of n has no more gold."""
    return _arms(seed, dict.fromkeys(("weights", "scores", "member"), (0.9, 0.5)))


def not_memorised(seed: int) -> Arms:
    """Members order wrong labels as chance does: there is nothing to forget."""
    return _arms(seed, {"weights": (0.3, 0.9), "scores": (0.4, 0.6), "member": (0.4, 0.5)})


def _arms(seed: int, told: dict[str, tuple[float, float]]) -> Arms:
    noise = Random(seed)
    lines: list[dict[str, Any]] = []
    for kind, numbers in told.items():
        memorised, best = (x + noise.gauss(0, 0.003) for x in numbers)
        lines.append({"kind": "judged", "reward": kind, "memorised": memorised, "best": best})
    spent = {"kind": "spent", "updates": 900, "labels": 1000, "generated": 2000}
    return {"long": [*lines, *({**spent, "arm": kind} for kind in told)]}
