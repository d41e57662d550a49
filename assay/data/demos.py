"""Demonstrations out of rows: a prompt and what was answered, from columns, a list of messages, or
a transcript.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assay.data.faults import Faults
from assay.data.kinds import Layout
from assay.data.scored import scored, text_of
from assay.data.turns import Turns, written


@dataclass(frozen=True, slots=True)
class Demo:
    """One answer to imitate; `prompt` is empty where the file has bare texts, `turns` are its own
    where it was a dialogue.
    """

    row: int
    prompt: str
    answer: str
    turns: Turns | None = None


def demos(
    rows: Iterator[tuple[int, dict[str, Any]]], layout: Layout, faults: Faults
) -> Iterator[Demo]:
    """Stream the demonstrations of a file. Of a conversation the last turn is the answer, and it
    has to be the assistant's; a row without an answer that holds something is an error.
    """
    cure = "repair the row, or leave such rows out"
    if "response" in layout.parts:
        column = layout.parts["response"]
        for item in scored(rows, layout, faults):
            if item.response.strip():
                yield Demo(item.row, item.prompt, item.response, item.turns)
            else:
                faults.error("empty text", item.row, column, "an empty answer", cure)
        return
    column = layout.parts.get("messages") or layout.parts["text"]
    for i, row in rows:
        cell = text_of(i, row, column, faults)
        if cell is None:
            continue
        text, turns = cell
        if turns is not None and turns[-1][0] != "assistant":
            faults.error(
                "no answer",
                i,
                column,
                f"a conversation whose last word is the {turns[-1][0]}'s",
                "end it with what the assistant said",
            )
            continue
        asked, answer = (turns[:-1], turns[-1][1]) if turns is not None else ((), text)
        if answer.strip():
            yield Demo(i, written(asked) if asked else "", answer, asked or None)
        else:
            faults.error("empty text", i, column, "an empty answer", cure)
