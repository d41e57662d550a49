"""Which column of a file says which of two completions is better."""

from __future__ import annotations

import re
from collections.abc import Sequence

VERDICT = (
    "better_response_id",
    "preference",
    "preferred",
    "raters",
    "label",
    "labels",
    "winner",
    "preference_strength",
    "overall_preference",
    "choice",
    "verdict",
)
TIE = ("winner_tie", "tie", "is_tie", "draw")
_SIDE = re.compile(
    r"(is_|prefers?_|winner_is_|winner_)?(?:(?:response|model|answer|output|completion)_?)?"
    r"(a|b|0|1|2|first|second)((?:_is|_was)?_(?:better|best|preferred|wins?|won|winner|chosen))?"
)


def side(column: str, first: str, second: str) -> str | None:
    """The completion that a column's name says is better where the cell is true.

    Args:
        column: The column, such as a_is_better or winner_model_b.
        first: The column of the first completion.
        second: The column of the second completion.

    Returns:
        "first", "second", or None if the name says nothing.

    Example:
        >>> side("a_is_better", "response_a", "response_b"), side("label", "a", "b")
        ('first', None)
    """
    found = _SIDE.fullmatch(column.lower())
    if not found or not (found[1] or found[3]):
        return None
    for name, word in ((first, "first"), (second, "second")):
        if found[2] == word or re.search(rf"(^|[^a-z0-9]|[a-z](?=\d)){found[2]}$", name.lower()):
            return word
    return None


def verdict_parts(seen: Sequence[str], first: str, second: str) -> tuple[dict[str, str], list[str]]:
    """Find the verdict's column, or one column for each outcome.

    Args:
        seen: The file's columns.
        first: The column of the first completion.
        second: The column of the second completion.

    Returns:
        (the parts, the candidates where there are several and the user has to choose).
    """
    sides = {c: side(c, first, second) for c in seen}
    one = [c for c in seen if sides[c] == "first"]
    two = [c for c in seen if sides[c] == "second"]
    known = [c for c in VERDICT if c in seen]
    if len(one) == len(two) == 1 and not known:
        tie = [c for c in TIE if c in seen][:1]
        parts = {"verdict": one[0], "verdict_second": two[0]}
        return parts | ({"verdict_tie": tie[0]} if tie else {}), []
    found = known + one + two
    if len(found) == 1:
        return {"verdict": found[0]}, []
    return {}, found
