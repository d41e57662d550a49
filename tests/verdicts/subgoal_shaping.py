"""Arms of the claim of subgoal_shaping, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """The evaluator's subgoals speed learning, and shuffled ones do not."""
    return _arms(seed, evaluator=0.6, outcome=0.4, shuffled=0.1)


def false(seed: int) -> Arms:
    """The evaluator's subgoals slow learning."""
    return _arms(seed, evaluator=0.3, outcome=0.5, shuffled=0.1)


def _arms(seed: int, **means: float) -> Arms:
    noise = random.Random(seed)
    each = {arm: mean + noise.gauss(0, 0.01) for arm, mean in means.items()}
    return {arm: run([0.0, m - 0.1, m, m + 0.1]) for arm, m in each.items()}
