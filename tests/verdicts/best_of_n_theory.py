"""Lines in which the estimator from draws is near, and in which it is not."""

from __future__ import annotations

import random
from typing import Any


def _arms(seed: int, drawn: float, large: float) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed).gauss(0, 0.01)
    line = {"reward": "score", "tied": 0.0, "exact": 2.0, "bound": 2.5, "one_probability": 2.4}
    lines = [
        {**line, "n": 1, "discreteness": 0.1, "exact": 0.0, "from_draws": 0.0},
        {**line, "n": 16, "discreteness": 0.5, "from_draws": drawn + noise},
        {**line, "n": 256, "discreteness": 2.0, "from_draws": large + noise},
    ]
    spent = [{"kind": "spent", "arm": a, "scored": 10} for a in ("from_draws", "bound")]
    return {"study": [*lines, *spent]}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """From draws it is a twentieth of a nat away, the others near half a nat."""
    return _arms(seed, 2.05, 2.05)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """At large n the draws of one seed miss the KL by as much as the bound does."""
    return _arms(seed, 2.05, 2.5)
