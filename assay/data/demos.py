"""Demonstrations from rows: a prompt and its completion, from columns, messages or a transcript."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assay.data.cells import Cell
from assay.data.faults import FIX, Faults
from assay.data.kinds import Layout
from assay.data.prompt_cells import PromptCells
from assay.data.scored import completed, scored
from assay.data.turns import Turns, transcript


@dataclass(frozen=True, slots=True)
class Demo:
    """One demonstration.

    Attributes:
        row: Its row in the file.
        prompt: The prompt; empty for a bare text.
        completion: What is to be imitated.
        turns: The prompt's turns, if it is a dialogue.
        reply: The completion's turns, if it is more than the assistant's plain text.
        label: What the file's label or score says of the completion; NaN where it has none.
        labelled_by: The column of the label; "" where the file has none.
    """

    row: int
    prompt: str
    completion: str
    turns: Turns | None = None
    reply: Turns | None = None
    label: float = math.nan
    labelled_by: str = ""


def demos(
    rows: Iterator[tuple[int, dict[str, Any]]], layout: Layout, faults: Faults
) -> Iterator[Demo]:
    """Read the demonstrations of a file.

    The completion of a conversation is what the assistant says and calls after the user's last
    turn.

    Args:
        rows: (row number, row).
        layout: Which columns to read.
        faults: Counts rows without a completion, which are left out.
    """
    if "response" in layout.parts:
        column, by = layout.parts["response"], layout.parts.get("score", "")
        for item in scored(rows, layout, faults):
            if item.response.strip():
                own = item.row, item.prompt, item.response, item.turns, item.reply
                yield Demo(*own, item.score, by)
            else:
                faults.error("empty text", item.row, column, "an empty completion", FIX)
        return
    column = layout.parts.get("messages") or layout.parts["text"]
    cells = PromptCells(layout, faults)
    for i, row in rows:
        cells.count_unread(row)
        cell = cells.cell(i, row, column)
        if cell is None:
            continue
        if cell.turns is None and (turns := transcript(cell.text)) is not None:
            cell = Cell.of(turns)
        replies = any(t.role == "assistant" for t in cell.turns or ())
        # without a reply of its own, a row would take one of its history's for its completion
        whole = cells.join(i, row, cell) if replies else cell
        made = None if whole is None else completed(i, column, Cell(""), whole, faults)
        if made is None:
            continue
        before, reply = made
        if reply.text.strip():
            yield Demo(i, before.text, reply.text, before.turns, reply.turns)
        else:
            faults.error("empty text", i, column, "an empty completion", FIX)
