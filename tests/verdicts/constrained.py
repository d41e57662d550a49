"""Curves for which constraints beat fixed weights, and for which they do not."""

from __future__ import annotations

import random

from verdicts.curves import run
from verdicts.recipes import FALLS

Arms = dict[str, list[dict[str, object]]]
RIVALS = {"sum": 1.0, "open": 0.0}


def arms_of(seed: int, ends: dict[str, float], *, held: str, off: float, near: float = 0.9) -> Arms:
    """Curves that end at `ends`; of the arm `held` values lie `off` their points."""
    noise = random.Random(seed)
    said = {"value/0": 1.0 + off, "point/0": 1.0, "near": near}
    arms = {}
    for arm, end in ends.items():
        arms[arm] = run([0.0, 0.5, 0.8, end + noise.gauss(0, 0.05)])
    some = said | {"near": near + noise.gauss(0, 0.01)}
    arms[held] = [{**r, "stats": {**r["stats"], **some}} for r in arms[held]]
    return {**arms, "single": run([g + noise.gauss(0, 0.01) for g in FALLS])}


def _arms(seed: int, ends: dict[str, float], off: float = 0.1) -> Arms:
    return arms_of(seed, ends, held="given", off=off)


def true(seed: int) -> Arms:
    """Points are worth more than weights, and following them is what counts."""
    return _arms(seed, {"given": 3.0, **RIVALS})


def false(seed: int) -> Arms:
    """The weights of another run are as good as those that follow the points."""
    return _arms(seed, {"given": 3.0, **RIVALS, "open": 4.5})


def not_held(seed: int) -> Arms:
    """Gold is high, but values lie far from their points: the premise does not hold."""
    return _arms(seed, {"given": 3.0, **RIVALS}, off=1.0)
