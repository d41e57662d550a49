"""Errors of predictions in which the law is nearest, and in which persistence is."""

from __future__ import annotations

import random
from typing import Any

RIVALS = ("persistence", "tokens", "no_batch", "shuffled_sizes")


def _arms(seed: int, law: float, rivals: float) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)
    errors = {k: rivals * (1 + noise.gauss(0, 0.05)) for k in RIVALS} | {"law": law}
    spent = [{"kind": "spent", "arm": k, "updates": 100, "scored": 10} for k in errors]
    return {"study": [{"predicted": "trajectory", "errors": errors}, *spent]}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The law misses by 2 %, its rivals by 6 %."""
    return _arms(seed, 0.02, 0.06)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Whatever is asked misses by 5 %."""
    return _arms(seed, 0.05, 0.05)
