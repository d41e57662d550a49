"""Where the arms of magnetic_mirror_descent settle, if its paper is right and if it is wrong."""

from __future__ import annotations

from verdicts.games import Arms, arms_at


def true(seed: int) -> Arms:
    """The magnet keeps the last policy near equilibrium."""
    return arms_at({"magnet": 0.05, "no magnet": 0.2}, 0.2, "exploitability", seed)


def false(seed: int) -> Arms:
    """The magnet is of no use."""
    return arms_at({"magnet": 0.2, "no magnet": 0.1}, 0.2, "exploitability", seed)
