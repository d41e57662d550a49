"""Lines of planning that improves its blueprints, or is a matter of chance."""

from __future__ import annotations

import random
from typing import Any


def _arms(more: float, magnet: float, seed: int) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)
    spent = {"kind": "spent", "arm": "", "generated": 100, "updates": 1, "seconds": 1.0}

    def run(of: str, first: float, *then: float) -> list[dict[str, Any]]:
        made = [{"kind": "planned", of: x + noise.gauss(0, 0.002)} for x in then]
        return [{"kind": "blueprint", of: first}, *made, spent]

    return {
        "planned": run("return", 0.12, 0.12 + more),
        "shuffled": run("return", 0.12, 0.1),
        "magnet": run("exploitability", 0.5, 0.3, magnet),
        "no magnet": run("exploitability", 0.5, 0.3, 0.2),
    }


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Every blueprint is improved, and the magnet keeps poker from cycling."""
    return _arms(0.05, 0.08, seed)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Planning changes the return by chance, and the magnet is of no use."""
    return _arms(0.0, 0.3, seed)
