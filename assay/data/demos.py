"""Demonstrations from rows: a prompt and its completion, from columns, messages or a transcript."""

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
    """One demonstration.

    Attributes:
        row: Its row in the file.
        prompt: The prompt; empty for a bare text.
        completion: What is to be imitated.
        turns: The prompt's turns, if it is a dialogue.
        reply: The completion's turns, if it is more than the assistant's plain text.
    """

    row: int
    prompt: str
    completion: str
    turns: Turns | None = None
    reply: Turns | None = None


def demos(
    rows: Iterator[tuple[int, dict[str, Any]]], layout: Layout, faults: Faults
) -> Iterator[Demo]:
    """Read the demonstrations of a file.

    The completion of a conversation is its last turn, which must be the assistant's.

    Args:
        rows: (row number, row).
        layout: Which columns to read.
        faults: Counts rows without a completion, which are left out.
    """
    cure = "repair the row, or remove it (assay check lists such rows)"
    if "response" in layout.parts:
        column = layout.parts["response"]
        for item in scored(rows, layout, faults):
            if item.response.strip():
                yield Demo(item.row, item.prompt, item.response, item.turns)
            else:
                faults.error("empty text", item.row, column, "an empty completion", cure)
        return
    column = layout.parts.get("messages") or layout.parts["text"]
    for i, row in rows:
        cell = text_of(i, row, column, faults)
        if cell is None:
            continue
        text, turns = cell
        if turns is not None and turns[-1][0] != "assistant":
            faults.error(
                "no completion",
                i,
                column,
                f"a conversation whose last turn is the {turns[-1][0]}'s",
                "end it with the assistant's turn",
            )
            continue
        before, completion = (turns[:-1], turns[-1][1]) if turns is not None else ((), text)
        if completion.strip():
            yield Demo(i, written(before) if before else "", completion, before or None)
        else:
            faults.error("empty text", i, column, "an empty completion", cure)
