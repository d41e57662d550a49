"""Where the arms of spo settle, if its paper is right and if it is wrong."""

from __future__ import annotations

from verdicts.games import Arms, arms_at


def true(seed: int) -> Arms:
    """The average settles, the last policy and that of a reward model do not."""
    return arms_at(
        {
            "average": 0.03,
            "last": 0.2,
            "reward model": 0.3,
            "last, transitive": 0.02,
            "reward model, transitive": 0.02,
        },
        0.2,
        "exploitability",
        seed,
    )


def false(seed: int) -> Arms:
    """The average is no better than anything."""
    return arms_at(
        {
            "average": 0.2,
            "last": 0.1,
            "reward model": 0.1,
            "last, transitive": 0.2,
            "reward model, transitive": 0.02,
        },
        0.2,
        "exploitability",
        seed,
    )
