"""Arms of the claim of subgoal_shaping, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """The model is informed, and its subgoals speed learning; other payments do not."""
    return _arms(seed, 0.6, 0.1, model=0.6, outcome=0.4, other=0.42, exact=0.65)


def false(seed: int) -> Arms:
    """The model says yes as often where nothing was reached, and its subgoals slow learning."""
    return _arms(seed, 0.0, 0.0, model=0.3, outcome=0.5, other=0.35, exact=0.65)


def _arms(seed: int, informed: float, exchanged: float, **means: float) -> Arms:
    noise = random.Random(seed)
    each = {arm: mean + noise.gauss(0, 0.01) for arm, mean in means.items()}
    arms = {arm: run([0.0, m - 0.1, m, m + 0.1]) for arm, m in each.items()}
    said = {"judge/informedness": informed, "judge/exchanged": exchanged}
    for r in arms["model"]:
        r["stats"] = {
            **r.get("stats", {}),
            **{k: v + noise.gauss(0, 0.02) for k, v in said.items()},
        }
    return arms
