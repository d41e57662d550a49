"""Lines of `preference_scaling` from losses that follow a law, one for each suite and tail."""

from __future__ import annotations

import math
import random
from typing import Any

from assay.recipes.preference_scaling import TAILS, WIDTHS, laws

SIZES = [200, 400, 800, 1600, 3200, 6400, 12800]
FLOOR = 0.325
POWER = [FLOOR + 2.0 * n**-0.45 for n in SIZES]
ONE = [FLOOR + 1.2 * n**-0.2 for n in SIZES]


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Errors and facts fall as a power at each tail, and less in narrow models; taste is a coin,
    one taste is learnt.
    """
    return lines(seed, dict.fromkeys(TAILS, POWER), [math.log(2)] * len(SIZES))


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """At one of the tails both fall as a logarithm, and taste is learnt as one taste is."""
    falls = [0.69 - 0.03 * math.log(n / 200) for n in SIZES]
    return lines(seed, {tail: falls if tail == TAILS[0] else POWER for tail in TAILS}, ONE)


def lines(
    seed: int, curves: dict[float, list[float]], taste: list[float]
) -> dict[str, list[dict[str, Any]]]:
    """The arms' lines for these losses, each shaken a little."""
    noise = random.Random(seed)

    def line(
        suite: str, tail: float, curve: list[float], width: int = WIDTHS[-1]
    ) -> dict[str, Any]:
        loss = [y * (1 + noise.gauss(0, 1e-4)) for y in curve]
        gain = {"gain_over_chance": math.log(2) - loss[-1]}
        kind = {"kind": "curve", "suite": suite, "tail": tail, "loss": loss, "width": width}
        return {**kind, **gain, **laws(SIZES, loss, 2, FLOOR)}

    def spent(suite: str, tails: int) -> dict[str, Any]:
        return {"kind": "spent", "arm": suite, "labels": tails * max(SIZES)}

    fallen = [line(s, tail, c) for s in ("errors", "facts") for tail, c in curves.items()]
    tastes = [line(s, TAILS[1], c) for s, c in (("taste", taste), ("one taste", ONE))]
    lacks = {WIDTHS[0]: 0.12, WIDTHS[1]: 0.04}  # nats that a narrow model misses in the end
    narrow = [
        line(suite, TAILS[1], [y + lack * k / 6 for k, y in enumerate(curve)], width)
        for width, lack in lacks.items()
        for suite, curve in (("errors", POWER), ("facts", POWER))
    ]
    narrow += [line("taste", TAILS[1], [math.log(2)] * len(SIZES), width) for width in lacks]
    return {
        "laws": [*fallen, spent("errors", 3), spent("facts", 3)],
        "narrow": [*narrow, *(spent(suite, 1) for suite in ("errors", "facts", "taste"))],
        "taste": [*tastes, spent("taste", 1), spent("one taste", 1)],
    }
