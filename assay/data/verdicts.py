"""Which of two completions is better, as numbers and words of data files say it."""

from __future__ import annotations

import math
from typing import Any

from assay.data.faults import Faults, clipped
from assay.data.kinds import Layout, number

_FIX = "repair the row, or leave such rows out with --drop"
FIRST_WORDS = ("a", "first", "response_a", "model_a", "response_1", "output_1")
SECOND_WORDS = ("b", "second", "response_b", "model_b", "response_2", "output_2")


def finite(i: int, value: Any, column: str, faults: Faults) -> float | None:
    """A finite number.

    Args:
        i: The row's number.
        value: The cell.
        column: Its column.
        faults: Counts a cell that is none.

    Returns:
        The number; None where the cell is none.
    """
    if value is None or value == "":
        faults.error("null cell", i, column, "null" if value is None else "an empty cell", _FIX)
        return None
    x = number(value)
    if x is None or not math.isfinite(x):
        faults.error("not a finite number", i, column, clipped(value), _FIX)
        return None
    return x


def first_wins(i: int, row: dict[str, Any], layout: Layout, faults: Faults) -> float | None:
    """The probability that the first of two completions is better, by raters, an id or a word.

    Args:
        i: The row's number.
        row: The row.
        layout: Its columns; `parts["verdict"]` is the verdict's.
        faults: Counts a verdict that cannot be read.

    Returns:
        The mean over raters; None where the verdict cannot be read.
    """
    column = layout.parts["verdict"]
    value = row.get(column)
    if value is None or value == []:
        faults.error("null cell", i, column, "null" if value is None else "an empty list", _FIX)
        return None
    votes = [_vote(v, column, layout) for v in (value if isinstance(value, list) else [value])]
    known = [v for v in votes if v is not None]
    if len(known) < len(votes):
        faults.error(
            "unknown verdict",
            i,
            column,
            clipped(value),
            "say 1 or 2 (0 for a tie), 'a' or 'b', or the better one's column",
        )
        return None
    return sum(known) / len(known)


def _vote(value: Any, column: str, layout: Layout) -> float | None:
    """1 for the first, 0 for the second, ½ for a tie."""
    first, second = layout.parts["first"], layout.parts["second"]
    zero_based = first.endswith("_0")
    if isinstance(value, str) and number(value) is None:
        word = value.strip().lower()
        if word in ("tie", "draw", "equal", "both"):
            return 0.5
        if word in (first.lower(), *FIRST_WORDS):
            return 1.0
        return 0.0 if word in (second.lower(), *SECOND_WORDS) else None
    x = number(value)
    if x is None or not math.isfinite(x):
        return None
    if column == "preference_strength":
        return 0.5 if x == 0 else float(x < 0)
    names = {0.0: 1.0, 1.0: 0.0} if zero_based else {0.0: 0.5, 1.0: 1.0, 2.0: 0.0}
    return names.get(x)
