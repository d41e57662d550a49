"""Runs of direct_alignment by hand: gold follows the law of the paper, or another one."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from assay.core.paper import Arms
from assay.recipes.direct_alignment import BETAS, LOSSES
from verdicts.curves import run


def true(seed: int) -> Arms:
    """Gold is d(α − β log d) under all losses, and on many pairs it does not turn."""
    return _arms(seed, lambda d: d * (2.0 - 1.3 * math.log(d)), lambda d: 0.3 * d)


def false(seed: int) -> Arms:
    """Gold is d(α − βd): it turns, by another law."""
    return _arms(seed, lambda d: d * (2.0 - 0.5 * d), lambda d: 0.3 * d)


def _arms(seed: int, few: Callable[[float], float], many: Callable[[float], float]) -> Arms:
    noise = Random(seed)

    def shaken(law: Callable[[float], float], end: float) -> list[dict[str, object]]:
        places = [end * i / 20 for i in range(21)]
        golds = [0.0] + [law(d) + noise.gauss(0, 0.02) for d in places[1:]]
        return run(golds, tuple(d * d for d in places))

    arms = {
        f"{loss} {b}": shaken(few, 5.0 - 3 * i / 4) for loss in LOSSES for i, b in enumerate(BETAS)
    }
    return {**arms, **{f"{loss} many": shaken(many, 5.0) for loss in LOSSES}}
