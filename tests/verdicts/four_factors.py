"""Tables in which the factors come in the paper's order, and in which the algorithm is first."""

from __future__ import annotations

import random

from assay.loops.factors import CLAIMED

Arms = dict[str, list[dict[str, object]]]


def _arms(seed: int, moves: dict[str, float]) -> Arms:
    noise = random.Random(seed)
    arms: Arms = {}
    for name, cell in CLAIMED.items():
        gold = moves["data"] * cell.many + moves["algorithm"] * (cell.algorithm == "ppo")
        gold += moves["prompts"] * cell.every - moves["reward model"] * (not cell.large)
        ppo = cell.algorithm == "ppo"
        spent = {
            "kind": "spent",
            "arm": name,
            "labels": 400 if cell.many else 100,
            "updates": 120 if ppo else 60,
        }
        sampled = {"generated": 1920, "scored": 1920} if ppo else {}
        arms[name] = [
            {"cell": name, "gold": gold + noise.gauss(0, 0.03), "gained": gold + 1.0},
            {**spent, **sampled},
        ]
    return arms


def true(seed: int) -> Arms:
    """Data 4, algorithm 2.5, reward model 1.2, prompts 0."""
    return _arms(seed, {"data": 4.0, "algorithm": 2.5, "reward model": 1.2, "prompts": 0.0})


def false(seed: int) -> Arms:
    """The algorithm moves more than the data."""
    return _arms(seed, {"data": 1.0, "algorithm": 2.5, "reward model": 1.2, "prompts": 0.0})
