"""Where the arms of dno settle, if its paper is right and if it is wrong."""

from __future__ import annotations

from verdicts.games import Arms, arms_at


def true(seed: int) -> Arms:
    """Rounds on win rates raise the win rate."""
    return arms_at({"pairs": 0.65, "regression": 0.64, "shuffled": 0.5}, 0.2, "win_rate", seed)


def false(seed: int) -> Arms:
    """Rounds on win rates are worth what rounds on chance are."""
    return arms_at({"pairs": 0.5, "regression": 0.6, "shuffled": 0.5}, 0.2, "win_rate", seed)
