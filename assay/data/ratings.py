"""Ratings of chosen and rejected completions that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.data.numbers import number

RATINGS = (
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
)


def ratings(columns: Sequence[str]) -> tuple[str, str] | None:
    """The columns of both ratings; None where a file has none.

    Args:
        columns: The file's columns.
    """
    return next((r for r in RATINGS if r[0] in columns and r[1] in columns), None)


def contradicts(row: Mapping[str, Any], names: tuple[str, str]) -> str:
    """What stands in a row whose rejected completion has the higher rating; "" for other rows.

    Args:
        row: The row.
        names: The columns of both ratings, the chosen one's first.
    """
    chosen, rejected = (number(row.get(name)) for name in names)
    if chosen is None or rejected is None or rejected <= chosen:
        return ""
    return f"{rejected:g}, and {names[0]} is {chosen:g}"
