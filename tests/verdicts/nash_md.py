"""Runs of Nash-MD that fall as 1/k² while plain self-play is exploited, and runs at a floor."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import reading

Arms = dict[str, list[dict[str, Any]]]


def game(kls: list[float], exploitability: float) -> list[dict[str, Any]]:
    """A run that reads KL(π*‖π) at steps 0, 10 and 100, and ends with an exploitability."""
    found = {"exact/exploitability": exploitability}
    return [
        reading(step, 0.5, 0.1, "", stats={"exact/nash_kl": kl, **found})
        for step, kl in zip((0, 10, 100), kls, strict=True)
    ]


def _arms(seed: int, mine: list[float], plain: float) -> Arms:
    noise = random.Random(seed)
    shaken = [kl * 10 ** noise.gauss(0, 0.02) for kl in mine]
    return {
        "mine": game(shaken, 0.03),
        "constant": game([0.1, 1e-2, 1e-3], 0.05),
        "plain": game([0.1, 1.0, 3.0], plain + noise.gauss(0, 0.01)),
        "transitive": game([0.1, 1e-2, 1e-5], 0.03),
        "transitive plain": game([0.1, 1.0, 3.0], 0.0),
    }


def true(seed: int) -> Arms:
    """It falls by two decades, and plain self-play ends at a pure response."""
    return _arms(seed, [0.1, 1e-2, 1e-4], 0.5)


def false(seed: int) -> Arms:
    """It stops at the constant step's floor."""
    return _arms(seed, [0.1, 1e-3, 1e-3], 0.5)
