"""How a score goes with the length of the completion, among completions of the same prompt."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from assay.audits.completions import Completions, Floats
from assay.audits.effects import correlation_within
from assay.audits.scorers import Scorers
from assay.stats.jackknife import Interval


@dataclass(frozen=True)
class Length:
    """Score and length of one reward.

    Attributes:
        reward: The row of the scores.
        member: Whether it is one of several members.
        correlation: Of score and characters within prompts.
    """

    reward: str
    member: bool
    correlation: Interval

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def lengths(
    scorers: Scorers, x: Completions, scores: Floats
) -> tuple[list[Length], Interval | None]:
    """Correlate score and length within prompts.

    Args:
        scorers: The rewards.
        x: The completions.
        scores: Their scores, `[C, R]`.

    Returns:
        (one entry a row of the scores, the correlation of gold and length; None without gold).
    """
    size = np.array([len(t) for t in x.responses], dtype=float)
    found = [
        Length(c.name, c.member, correlation_within(s, size, x.group))
        for c, s in zip(scorers.columns, scores, strict=True)
    ]
    return found, None if x.gold is None else correlation_within(x.gold, size, x.group)
