"""Arms of the claim of subgoal_shaping, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """The model's subgoals speed learning; other payments do not."""
    return _arms(seed, model=0.6, outcome=0.4, other=0.42, exact=0.65)


def false(seed: int) -> Arms:
    """The model's subgoals slow learning."""
    return _arms(seed, model=0.3, outcome=0.5, other=0.35, exact=0.65)


def _arms(seed: int, **means: float) -> Arms:
    noise = random.Random(seed)
    each = {arm: mean + noise.gauss(0, 0.01) for arm, mean in means.items()}
    return {arm: run([0.0, m - 0.1, m, m + 0.1]) for arm, m in each.items()}
