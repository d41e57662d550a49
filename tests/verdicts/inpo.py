"""Where the arms of inpo settle, if its paper is right and if it is wrong."""

from __future__ import annotations

from verdicts.games import Arms, arms_at


def true(seed: int) -> Arms:
    """INPO is less exploitable than iterative DPO, and ties where a score explains all."""
    return arms_at(
        {
            "inpo": 0.05,
            "dpo": 0.1,
            "no reference": 0.1,
            "inpo, transitive": 0.04,
            "dpo, transitive": 0.04,
        },
        0.2,
        "exploitability",
        seed,
    )


def false(seed: int) -> Arms:
    """The reference's share of the anchor is of no use."""
    return arms_at(
        {
            "inpo": 0.1,
            "dpo": 0.1,
            "no reference": 0.05,
            "inpo, transitive": 0.1,
            "dpo, transitive": 0.02,
        },
        0.2,
        "exploitability",
        seed,
    )
