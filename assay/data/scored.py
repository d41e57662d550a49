"""Scored responses out of rows, and the prompts that group them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assay.data.faults import Faults
from assay.data.kinds import Layout
from assay.data.pairs import finite
from assay.data.turns import Turns, transcript, turns_of, written


@dataclass(frozen=True, slots=True)
class Scored:
    """One response to one prompt; `score` is NaN where the file has none and none was asked for."""

    row: int
    prompt: str
    response: str
    score: float
    turns: Turns | None = None


def text_of(
    i: int, row: dict[str, Any], column: str, faults: Faults
) -> tuple[str, Turns | None] | None:
    """A cell as text, and its turns if it was a dialogue; a fault and None where it is neither."""
    value = row.get(column)
    if isinstance(value, str):
        turns = transcript(value)
        if turns is None:
            return value, None
        said = turns[:-1] if turns[-1] == ("assistant", "") else turns
        return written(said), said
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
    """Stream the responses of a file. A blank response is a warning, for a model may say nothing
    and be scored for it; an empty prompt is an error, for it belongs to no group.
    """
    ask, answer, column = (
        layout.parts["prompt"],
        layout.parts["response"],
        layout.parts.get("score"),
    )
    form: type | None = None
    for i, row in rows:
        prompt, response = text_of(i, row, ask, faults), text_of(i, row, answer, faults)
        score = math.nan if column is None else finite(i, row.get(column), column, faults)
        if prompt is None or response is None or score is None:
            continue
        here = type(row[answer])
        if form is not None and here is not form:
            faults.error(
                "mixed types",
                i,
                answer,
                "text here and a list of messages elsewhere",
                "write all answers as text or all as messages",
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
                answer,
                "a response without text",
                "it is kept and scored like any other",
            )
        yield Scored(i, prompt[0], response[0], score, prompt[1])


def within(prompts: list[str]) -> tuple[list[int], list[str]]:
    """Each row's group, by prompt, and the groups' prompts in order of first appearance."""
    names: dict[str, int] = {}
    group = [names.setdefault(p, len(names)) for p in prompts]
    return group, list(names)
