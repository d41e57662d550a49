"""Curves on which the network's quantile keeps its gold, and on which others' do as well; losses
that weights by completion lower, and do not.
"""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

OTHERS = ("uncalibrated", "shuffled labels")


def _arms(seed: int, others: list[float], local: float) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)

    def shaken(golds: list[float], **stats: float) -> list[dict[str, Any]]:
        readings = run([golds[0], *(g + noise.gauss(0, 0.01) for g in golds[1:])])
        return [{**r, "stats": {**r["stats"], **stats}} for r in readings]

    arms = {"mine": [0.0, 1.0, 2.0, 2.5], "single": [0.0, 1.0, 1.0, -1.0]}
    loss = {"local": local, "global": 0.3, "shuffled": 0.35, "most, local": 0.2}
    loss["most, global"] = 0.3
    return {k: shaken(v) for k, v in (arms | dict.fromkeys(OTHERS, others)).items()} | {
        k: shaken([0.0, 0.0], **{"quantile/held_out_loss": x + noise.gauss(0, 0.002)})
        for k, x in loss.items()
    }


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The others turn, and their losses are larger."""
    return _arms(seed, [0.0, 1.0, 1.0, 0.0], 0.2)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The others end where it does, and weights without features lose as little."""
    return _arms(seed, [0.0, 1.0, 2.0, 2.5], 0.3)
