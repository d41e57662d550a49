"""Lines of `preference_scaling` from losses that follow a law, one for each suite."""

from __future__ import annotations

import math
import random
from typing import Any

from assay.recipes.preference_scaling import laws

SIZES = [200, 400, 800, 1600, 3200, 6400, 12800, 25600]
FLOOR = 0.325


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Errors and facts fall as a power, taste is a coin, one taste is learnt."""
    power = [FLOOR + 2.0 * n**-0.45 for n in SIZES]
    coin, one = [math.log(2)] * len(SIZES), [FLOOR + 1.2 * n**-0.2 for n in SIZES]
    return lines(seed, [power, power, coin, one])


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Errors and facts fall exponentially to a level, and taste is learnt as one taste is."""
    decays = [FLOOR + 0.05 + 0.1 * math.exp(-n / 1000) for n in SIZES]
    one = [FLOOR + 1.2 * n**-0.2 for n in SIZES]
    return lines(seed, [decays, decays, one, one])


def lines(seed: int, curves: list[list[float]]) -> dict[str, list[dict[str, Any]]]:
    """The study's lines for these losses, each shaken a little."""
    noise, out = random.Random(seed), list[dict[str, Any]]()
    for suite, curve in zip(("errors", "facts", "taste", "one taste"), curves, strict=True):
        loss = [y * (1 + noise.gauss(0, 1e-4)) for y in curve]
        out.append(
            {
                "kind": "curve",
                "suite": suite,
                "gain_over_chance": math.log(2) - loss[-1],
                **laws(SIZES, loss, 2, FLOOR),
            }
        )
        out.append({"kind": "spent", "arm": suite, "labels": max(SIZES)})
    return {"study": out}
