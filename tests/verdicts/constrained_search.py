"""Curves for which found points beat fixed weights, and for which they do not."""

from __future__ import annotations

from verdicts.constrained import RIVALS, Arms, arms_of


def _arms(seed: int, ends: dict[str, float], off: float = 0.1, near: float = 0.9) -> Arms:
    return arms_of(seed, ends, held="found", off=off, near=near)


def true(seed: int) -> Arms:
    """Found points are worth more than weights and than labeled checkpoints."""
    return _arms(seed, {"found": 4.0, "stopped": 1.0, **RIVALS})


def false(seed: int) -> Arms:
    """The weights of another run are as good as those that follow the points."""
    return _arms(seed, {"found": 4.0, "stopped": 1.0, **RIVALS, "open": 4.5})


def bought(seed: int) -> Arms:
    """The best of as many labeled checkpoints ends as high."""
    return _arms(seed, {"found": 4.0, **RIVALS, "stopped": 4.0})


def not_reached(seed: int) -> Arms:
    """Gold is high, but vertices are judged before they are reached: the premise does not hold."""
    return _arms(seed, {"found": 4.0, "stopped": 1.0, **RIVALS}, near=0.3)
