"""Lines in which the estimator is near and the bound holds, and in which neither is."""

from __future__ import annotations

import random
from typing import Any


def _arms(seed: int, estimate: float, excess: float) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed).gauss(0, 0.01)
    line = {"reward": "score", "discreteness": 2.0, "tied": 0.0, "win_rate": 0.6, "win_bound": 0.9}
    values = {"exact": 2.0 + noise, "bound": 2.5 - excess, "estimate": estimate, "shuffled": 3.0}
    spent = [{"kind": "spent", "arm": a, "scored": 10} for a in ("estimate", "bound")]
    return {"study": [{**line, **values}, *spent]}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The estimate is a twentieth of a nat away, the bound half a nat."""
    return _arms(seed, 2.05, 0.0)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The exact KL exceeds its bound."""
    return _arms(seed, 2.05, 1.0)
