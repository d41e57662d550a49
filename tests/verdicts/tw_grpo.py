"""Arms of the claim of tw_grpo, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Places where the group differs are the ones to learn from, and so are parts of an answer."""
    return _arms(seed, mine=0.7, one=0.6, permuted=0.61, graded=0.8)


def false(seed: int) -> Arms:
    """Any places do as well."""
    return _arms(seed, mine=0.6, one=0.6, permuted=0.62, graded=0.55)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.3, 0.4, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
