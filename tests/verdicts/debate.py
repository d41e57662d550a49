"""Lines of the debate's study: evidence by which policies are preferred, and useless evidence."""

from __future__ import annotations

import random
from typing import Any

PREFERRED = {"maxmin": 0.75, "full": 0.76, "random": 0.6, "shuffled": 0.55}


def _study(preferred: dict[str, float], lost: float, seed: int) -> dict[str, list[dict[str, Any]]]:
    noise, lines = random.Random(seed), list[dict[str, Any]]()
    for kind, share in preferred.items():
        found = {"preferred": share + noise.gauss(0, 0.01), "return": 1 - lost}
        lines.append({"kind": "policy", "evidence": kind, "lam": 0.5, **found})
        spent = {"generated": 64, "scored": 64, "labels": 10, "updates": 5, "seconds": 1.0}
        lines.append({"kind": "spent", "arm": kind, **spent})
    return {"debate": lines}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """A debate is nearly as good as a judge who sees all, and costs little return."""
    return _study(PREFERRED, 0.02, seed)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Features at random do better than a debate."""
    return _study({**PREFERRED, "maxmin": 0.56, "random": 0.75}, 0.02, seed)
