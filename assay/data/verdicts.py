"""Labels of rows: which of two completions is better, and numbers such as scores and margins."""

from __future__ import annotations

import math
from typing import Any

from assay.data.faults import DROP, FIX, Faults, clipped
from assay.data.kinds import Layout
from assay.data.numbers import number
from assay.data.scale import DROPPED, Scale
from assay.data.verdict_words import BOTH_BAD


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
        faults.error("null cell", i, column, "null" if value is None else "an empty cell", FIX)
        return None
    x = number(value)
    if x is None or not math.isfinite(x):
        faults.error("not a finite number", i, column, clipped(value), FIX)
        return None
    return x


def score_of(i: int, row: dict[str, Any], layout: Layout, faults: Faults) -> float | None:
    """A scored response's score.

    Args:
        i: The row's number.
        row: The row.
        layout: Its columns and the scale of its scores.
        faults: Counts a cell that is no score.

    Returns:
        The score; NaN if the file has none, None where the cell is none or is left out.
    """
    column = layout.parts.get("score")
    if column is None:
        return math.nan
    value, scale = row.get(column), layout.scale
    if scale is None:
        return finite(i, value, column, faults)
    x, kind = scale.read(value, row)
    if kind == DROPPED:
        _dropped(i, column, value, faults)
    elif x is None:
        return finite(i, value, column, faults)
    return x


def first_wins(i: int, row: dict[str, Any], layout: Layout, faults: Faults) -> float | None:
    """The probability that the first of two completions is better, by raters, an id or a word.

    Args:
        i: The row's number.
        row: The row.
        layout: Its columns, with the scale of its verdicts.
        faults: Counts a verdict that cannot be read.

    Returns:
        The mean over raters; None where the verdict cannot be read or is left out.
    """
    scale = layout.scale
    if scale is None:
        raise ValueError("the scale of a verdict is decided before its rows are read")
    column = scale.column
    value = row.get(column)
    cells = value if isinstance(value, list) else [value]
    votes = [scale.read(c, row) for c in cells]
    kinds = {kind for _, kind in votes if kind}
    known = [p for p, kind in votes if p is not None]
    if (value is None or value in ("", [])) and not known and DROPPED not in kinds:
        faults.error("null cell", i, column, "null" if value is None else "no verdict", FIX)
        return None
    unknown = [c for c, (p, kind) in zip(cells, votes, strict=True) if p is None and not kind]
    if unknown:
        faults.error("unknown verdict", i, column, clipped(value), _cure(scale, unknown[0]))
        return None
    for kind in sorted(kinds - {DROPPED}):
        what = "neither completion is good" if kind == BOTH_BAD else "the two orders disagree"
        cure = f"it is a tie (p = 0.5); leave it out with --label-map {clipped(f'{value}=drop')}"
        faults.warn(kind, i, column, f"{clipped(value)}, {what}", cure)
    if not known:
        _dropped(i, column, value, faults)
        return None
    return sum(known) / len(known)


def _dropped(i: int, column: str, value: Any, faults: Faults) -> None:
    faults.warn(DROPPED, i, column, clipped(value), "such rows are left out, as you said")


def _cure(scale: Scale, value: Any) -> str:
    """How a value that is not on the scale gets a meaning."""
    typed = clipped(f"{value}=first")
    return (
        f"{scale.says}; say what it means with --label-map {typed}, or second, tie, drop, or {DROP}"
    )


def optional(
    i: int, row: dict[str, Any], part: str, layout: Layout, faults: Faults, default: float
) -> float | None:
    """A number that some rows have and others lack.

    Args:
        i: The row's number.
        row: The row.
        part: The part, "p" or "margin".
        layout: The file's columns.
        faults: Counts rows that lack it, as a warning, and cells that are no number.
        default: The number of rows that lack it.

    Returns:
        The number; None where the cell is none.
    """
    if part not in layout.parts:
        return default
    column = layout.parts[part]
    value = row.get(column)
    if value is None or value == "":
        found = "null" if column in row else "the row has no such column"
        cure = f"such rows have a {part} of {default:g}"
        faults.warn(f"no {part}", i, column, found if value is None else "an empty cell", cure)
        return default
    return finite(i, value, column, faults)
