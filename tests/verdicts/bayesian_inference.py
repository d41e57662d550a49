"""Runs that keep their entropy where they are penalised, and runs that lose it all the same."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import reading

PENALISED = ("reverse", "forward", "jensen_shannon")


def _run(kept: float, seed: int) -> list[dict[str, Any]]:
    noise = random.Random(seed).gauss(0, 0.01)
    entropies = (0.0, 1.0, 0.8, kept + noise)
    steps = [reading(i, 0.0, i, "", stats={"entropy": e}) for i, e in enumerate(entropies)]
    return [*steps, reading(3, 0.0, 3.0, "best")]


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Nine tenths are kept with a penalty, and a tenth without one or with a blind one."""
    lost = {k: _run(0.1, seed) for k in ("none", "shuffled")}
    return {k: _run(0.9, seed) for k in PENALISED} | lost


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """A tenth is kept whatever is done."""
    return {k: _run(0.1, seed) for k in (*PENALISED, "none", "shuffled")}
