"""The loops that plain recipes borrow: functions and generators, no class. A recipe that differs
writes its own.
"""

from __future__ import annotations

from assay.loops.online import (
    Margins,
    describe,
    joined,
    judge,
    mean_stats,
    offline,
    online,
    paired,
    panel,
    policy_gradient,
    ratios,
    relative,
    seen,
    siblings,
    where_it_applies,
)

__all__ = [
    "Margins",
    "describe",
    "joined",
    "judge",
    "mean_stats",
    "offline",
    "online",
    "paired",
    "panel",
    "policy_gradient",
    "ratios",
    "relative",
    "seen",
    "siblings",
    "where_it_applies",
]
