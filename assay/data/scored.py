"""Scored responses from rows, and the prompts that group them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assay.data.faults import Faults
from assay.data.kinds import Layout
from assay.data.turns import Turn, Turns, transcript, turns_of, written
from assay.data.verdicts import score_of


@dataclass(frozen=True, slots=True)
class Scored:
    """One response to one prompt.

    Attributes:
        row: Its row in the file.
        prompt: The prompt.
        response: The response.
        score: Its score; NaN if the file has none and none is needed.
        turns: The prompt's turns, if it is a dialogue.
        reply: The response's turns, if it is more than the assistant's plain text.
    """

    row: int
    prompt: str
    response: str
    score: float
    turns: Turns | None = None
    reply: Turns | None = None


def text_of(
    i: int, row: dict[str, Any], column: str, faults: Faults
) -> tuple[str, Turns | None] | None:
    """A cell as text.

    Args:
        i: The row's number.
        row: The row.
        column: The cell's column.
        faults: Counts a cell that is neither text nor messages.

    Returns:
        The text, and its turns if it is a dialogue; None for a faulty cell.
    """
    value = row.get(column)
    if isinstance(value, str):
        turns = transcript(value)
        if turns is None:
            return value, None
        before = turns[:-1] if turns[-1] == Turn("assistant", "") else turns
        return written(before), before
    if value is None:
        kind, found = (
            ("null cell", "null")
            if column in row
            else ("missing cell", "the row has no such column")
        )
        faults.error(kind, i, column, found, "repair the row, or leave such rows out with --drop")
        return None
    turns_or_fault = turns_of(value)
    if isinstance(turns_or_fault, str):
        faults.error(
            "wrong type", i, column, turns_or_fault, "write text, or a list of {role, content}"
        )
        return None
    return written(turns_or_fault), turns_or_fault


def scored(
    rows: Iterator[tuple[int, dict[str, Any]]], layout: Layout, faults: Faults
) -> Iterator[Scored]:
    """Read the responses of a file.

    An empty response is a warning, since a model can say nothing and be scored for it. An empty
    prompt is an error, since it belongs to no group.

    Args:
        rows: (row number, row).
        layout: Which columns to read.
        faults: Counts rows with faults, which are left out.
    """
    ask, response_column = layout.parts["prompt"], layout.parts["response"]
    form: type | None = None
    for i, row in rows:
        prompt, response = text_of(i, row, ask, faults), text_of(i, row, response_column, faults)
        score = score_of(i, row, layout, faults)
        if prompt is None or response is None or score is None:
            continue
        here = type(row[response_column])
        if form is not None and here is not form:
            faults.error(
                "mixed types",
                i,
                response_column,
                "text here and a list of messages elsewhere",
                "write all responses as text or all as messages",
            )
            continue
        form = here
        if not prompt[0].strip():
            faults.error(
                "empty text",
                i,
                ask,
                "an empty prompt",
                "repair the row, or leave such rows out with --drop",
            )
            continue
        if not response[0].strip():
            faults.warn(
                "empty response",
                i,
                response_column,
                "a response without text",
                "it is kept and scored like any other",
            )
        yield Scored(i, prompt[0], response[0], score, prompt[1])


def within(prompts: list[str]) -> tuple[list[int], list[str]]:
    """Group rows by prompt.

    Returns:
        Each row's group, and the groups' prompts in order of first appearance.
    """
    names: dict[str, int] = {}
    group = [names.setdefault(p, len(names)) for p in prompts]
    return group, list(names)
