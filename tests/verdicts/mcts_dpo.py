"""Arms of the claim of mcts_dpo, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Pairs of steps end above pairs of whole completions, and above coins."""
    return _arms(seed, mine=0.6, instance=0.5, coins=0.3)


def false(seed: int) -> Arms:
    """Pairs of steps are better than coins, and whole completions better than both."""
    return _arms(seed, mine=0.5, instance=0.6, coins=0.3)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.3, 0.35, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
