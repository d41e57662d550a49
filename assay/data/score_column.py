"""Which column of a file is the score of its responses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from assay.data.numbers import number, plain

SCORE = ("score", "reward", "rating", "p_win", "gold", "label", "correct", "kto_tag")
STRONG = ("score", "reward", "rating", "p_win")  # names that no column but a score has
_COMMA = re.compile(r"[+-]?\d+(,\d+)?")


def score_column(
    rows: Sequence[Mapping[str, Any]], free: Sequence[str], numeric: Sequence[str], file: str
) -> tuple[str | None, str]:
    """Choose the score's column by its name.

    Args:
        rows: The file's first rows.
        free: The columns that play no other part.
        numeric: Those of them that hold numbers.
        file: The file's name.

    Returns:
        (the column, or None where no column is a score for certain; the question to the user where
        the file leaves it open, or "").
    """
    known = [c for c in SCORE if c in free]
    good = [c for c in known if c in numeric]
    if len(good) == 1:
        return good[0], ""
    if good:
        return None, asks(rows, numeric, file, f"{' and '.join(good)} can each be the score")
    strong = [c for c in known if c in STRONG]
    for c in strong:
        cells = [row[c] for row in rows if row.get(c) not in (None, "")]
        if cells and all(isinstance(x, str) and _COMMA.fullmatch(x.strip()) for x in cells):
            return None, (
                f"{file}: column '{c}' holds {cells[0]!r:.40}, numbers with a decimal comma; write "
                f"them with a point, such as {cells[0].strip().replace(',', '.')}"
            )
    if strong and numeric:
        example = next((r[strong[0]] for r in rows if r.get(strong[0]) is not None), None)
        why = f"column '{strong[0]}' holds {example!r:.40} and no numbers"
        return None, asks(rows, numeric, file, why, strong[0])
    return None, ""


def asks(
    rows: Sequence[Mapping[str, Any]],
    numeric: Sequence[str],
    file: str,
    why: str,
    words: str | None = None,
) -> str:
    """The question which column is the score.

    Args:
        rows: The file's first rows.
        numeric: The columns of numbers.
        file: The file's name.
        why: Why it is asked.
        words: A column of words that may be the score.
    """
    ranges = ", ".join(f"{c} ({_range(rows, c)})" for c in numeric)
    mapped = f", or --score {words} --label-map WORD=NUMBER,… for its words" if words else ""
    return (
        f"{file}: {why}; say which column is the score with --score COLUMN; the columns of numbers "
        f"in its first rows are {ranges}{mapped}"
    )


def _range(rows: Sequence[Mapping[str, Any]], column: str) -> str:
    found = [x for row in rows if (x := number(row.get(column))) is not None]
    return f"{plain(min(found))} to {plain(max(found))}"
