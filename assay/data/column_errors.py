"""Errors for columns that a file does not have; each says what would help."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from assay.data.prompt_columns import DIALOGUE, JOINED
from assay.errors import InputError

CANONICAL = (
    "prompt",
    "chosen",
    "rejected",
    "margin",
    "p",
    "response",
    "messages",
    "text",
    "verdict",
    "first",
    "second",
    "score",
    *JOINED,
)
_RATES = ("score", "rating", "reward")  # how a column of ratings begins


def missing(what: str, columns: Iterable[str], file: str) -> InputError:
    """The error for a column that is not there, with the columns that are and the nearest name.

    Args:
        what: The column, or the part, that is missing.
        columns: The file's columns.
        file: The file's name.
    """
    columns = list(columns)
    near = difflib.get_close_matches(what, columns, n=1, cutoff=0.6)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    cure = (
        f" (rename with --columns {what}={near[0] if near else 'ITS_NAME'})"
        if what in CANONICAL
        else ""
    )
    return InputError(f"{file} has no column '{what}'; it has {', '.join(columns)}{hint}{cure}")


def no_verdict(two: tuple[str, str], seen: Sequence[str], file: str) -> InputError:
    """The error for two completions without a verdict; its cure is one that helps."""
    first, second = two
    n = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    ends = first[n:], second[n:]  # such as the numbers of answer_0 and answer_1
    named = [c[: -len(ends[0])] for c in seen if c.endswith(ends[0]) and c.startswith(_RATES)]
    scores = next(((c + ends[0], c + ends[1]) for c in named if c + ends[1] in seen), None)
    if scores is not None:
        return InputError(
            f"{file} has {first} and {second} and no column that says which is better; if "
            f"{scores[0]} and {scores[1]} rate them, write the better one into a column 'chosen' "
            "and the other into 'rejected'"
        )
    return InputError(
        f"{file} has {first} and {second} but no column that says which is better; it has "
        f"{', '.join(seen)} (name it with --columns verdict=ITS_NAME)"
    )


def no_response(seen: Sequence[str], two: tuple[str, str] | None, file: str) -> InputError:
    """The error for a file without a column of responses; its cure is one that helps."""
    talk = next((c for c in DIALOGUE if c in seen), None)
    if two is not None:
        return InputError(
            f"{file} has two responses a row, {two[0]} and {two[1]}, and no chosen and rejected; "
            f"write these with assay check {file} --fix PAIRS.jsonl, and give PAIRS.jsonl"
        )
    if talk is not None:
        return InputError(
            f"{file} has its responses inside '{talk}'; write each into a column 'response', and "
            "the turns before it into a column 'prompt'"
        )
    return missing("response", seen, file)
