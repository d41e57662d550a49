"""Lines of players of each kind before their confusers: those who debated withstand, or do not."""

from __future__ import annotations

import random
from typing import Any

LEFT = {"maxmin": 0.85, "self_play": 0.8, "isolated": 0.55, "shuffled": 0.5, "random": 0.45}


def _arms(left: dict[str, float], seed: int) -> dict[str, list[dict[str, Any]]]:
    noise, arms = random.Random(seed), dict[str, list[dict[str, Any]]]()
    spent = {"scored": 64, "labels": 10, "updates": 5, "seconds": 1.0}
    for kind, share in left.items():
        found: dict[str, Any] = {"alone": 0.97, "confused": share + noise.gauss(0, 0.01)}
        found["irrefutable"] = None if kind == "random" else found["confused"] - 0.2
        line = {"kind": "refuted", "players": kind, **found}
        arms[kind] = [line, {"kind": "spent", "arm": "", **spent}]
    return arms


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Who debated withstands a confuser, and maxmin players most."""
    return _arms(LEFT, seed)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Players trained alone withstand as much as any, who lose much to a confuser all the same."""
    return _arms({**LEFT, "isolated": 0.7, "maxmin": 0.6, "self_play": 0.65}, seed)


def unhurt(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The confuser is too weak to take anything from anybody."""
    return _arms(dict.fromkeys(LEFT, 0.96), seed)
