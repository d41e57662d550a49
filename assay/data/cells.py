"""Cells of a row as text and turns; the prompt is joined from its columns. All that is not read is
counted.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from assay.data.dialogues import contains, parted
from assay.data.faults import Faults
from assay.data.kinds import Layout
from assay.data.messages import Unreadable, parsed, turns_of
from assay.data.prompt_columns import DIALOGUE, JOINED
from assay.data.turns import Turn, Turns, as_more, begun, transcript, written

FIX = "repair the row, or leave such rows out with --drop"
EMPTY: tuple[Any, ...] = (None, "", [], {})


class Cell(NamedTuple):
    """A cell that was read.

    Attributes:
        text: Its text; that of a dialogue is a transcript.
        turns: Its turns; None for plain text.
    """

    text: str
    turns: Turns | None = None

    @classmethod
    def of(cls, turns: Turns) -> Cell:
        """The cell of a dialogue."""
        return cls(written(turns), turns)


def joined_turns(cell: Cell) -> Turns:
    """A prompt's turns; a plain text is one turn of the user."""
    return cell.turns if cell.turns is not None else (Turn("user", cell.text),)


class Cells:
    """Reads the cells of one file.

    Args:
        layout: Its columns.
        faults: Counts faulty cells, and what is not read.
    """

    def __init__(self, layout: Layout, faults: Faults):
        self.layout, self.faults = layout, faults
        self.column = layout.parts.get("prompt")
        self.joins = [part for part in JOINED if part in layout.parts]
        self.read = set(layout.parts.values())

    def count_unread(self, row: dict[str, Any]) -> None:
        """Count the cells of a row that stand in columns that play no part."""
        for column, value in row.items():
            if column not in self.read and value not in EMPTY:
                self.faults.unread[f"column '{column}'"] += 1

    def cell(self, i: int, row: dict[str, Any], column: str) -> Cell | None:
        """Read a cell that holds text or messages; None for a faulty one, which is counted."""
        value = row.get(column)
        if value is None:
            kind, found = (
                ("null cell", "null")
                if column in row
                else ("missing cell", "the row has no such column")
            )
            self.faults.error(kind, i, column, found, FIX)
            return None
        try:
            if isinstance(value, str):
                held = parsed(value)
                if held is None:
                    return self.whole(i, column, Cell(value))
                self.faults.warn(
                    "messages as text",
                    i,
                    column,
                    "messages that were written as text",
                    "they are read as messages",
                )
                value = held
            return self.whole(i, column, Cell.of(turns_of(value, self.faults.unread)))
        except Unreadable as why:
            self.faults.error(
                "wrong type", i, column, str(why), "write text, or a list of {role, content}"
            )
            return None

    def whole(self, i: int, column: str, cell: Cell) -> Cell | None:
        """The cell, if all of its text is Unicode; no tokenizer and no file takes half a
        character.
        """
        if cell.text.isascii():
            return cell
        try:
            cell.text.encode("utf-8")
        except UnicodeEncodeError as why:
            self.faults.error(
                "half a character",
                i,
                column,
                f"character {why.start + 1} is half of a surrogate pair "
                f"(\\u{ord(cell.text[why.start]):04x}), which is no text",
                FIX,
            )
            return None
        return cell

    def prompt(self, i: int, row: dict[str, Any]) -> Cell | None:
        """Read the prompt and join what belongs to it; None for a faulty one, which is counted.

        A `Human:/Assistant:` transcript is a dialogue.
        """
        assert self.column is not None
        cell = self.cell(i, row, self.column)
        if cell is None:
            return None
        if cell.turns is None and (turns := transcript(cell.text)) is not None:
            cell = Cell.of(begun(turns)) if begun(turns) else Cell("")
        if cell.turns is not None and self.layout.kind == "prompts" and self.column in DIALOGUE:
            before, reply, after = parted(cell.turns)
            if before and reply:  # demonstrations that are read for their prompts
                self.faults.unread["turns after the user's last one"] += len(reply) + len(after)
                cell = Cell.of(before)
        for part in ("input", "history", "system", "tools"):
            if part in self.joins and row.get(self.layout.parts[part]) not in EMPTY:
                cell = getattr(self, f"_{part}")(i, row, self.layout.parts[part], cell)
                if cell is None:
                    return None
        return cell

    def _input(self, i: int, row: dict[str, Any], column: str, ask: Cell) -> Cell | None:
        """Alpaca's input stands below its instruction."""
        more = self.cell(i, row, column)
        if more is None:
            return None
        if ask.turns is None and more.turns is None:
            return Cell(f"{ask.text}\n{more.text}") if more.text.strip() else ask
        return Cell.of((*joined_turns(ask), *joined_turns(more)))

    def _history(self, i: int, row: dict[str, Any], column: str, ask: Cell) -> Cell | None:
        """Earlier turns: [question, answer] rounds, or messages."""
        value = row[column]
        if isinstance(value, list) and all(isinstance(r, list | tuple) for r in value):
            if not all(len(r) == 2 and all(isinstance(x, str) for x in r) for r in value):
                self.faults.error(
                    "wrong type",
                    i,
                    column,
                    "rounds that are not [question, answer]",
                    "write pairs of texts, or messages",
                )
                return None
            before = tuple(
                Turn(role, text)
                for r in value
                for role, text in zip(("user", "assistant"), r, strict=True)
            )
            return self.whole(i, column, Cell.of((*before, *joined_turns(ask))))
        cell = self.cell(i, row, column)
        if cell is None:
            return None
        earlier = cell.turns or transcript(cell.text)
        if earlier is None:
            self.faults.error(
                "wrong type",
                i,
                column,
                "a history that is neither rounds nor messages",
                f"write [question, answer] rounds, or name it with --columns prompt={column}",
            )
            return None
        if contains(earlier, joined_turns(ask)):
            return Cell.of(earlier)
        return Cell.of((*earlier, *joined_turns(ask)))

    def _system(self, i: int, row: dict[str, Any], column: str, ask: Cell) -> Cell | None:
        cell = self.cell(i, row, column)
        if cell is None:
            return None
        if not cell.text.strip():
            return ask
        turns = joined_turns(ask)
        begin = cell.turns if cell.turns is not None else (Turn("system", cell.text),)
        if turns[0].role != "system":
            return Cell.of((*begin, *turns))
        if turns[0].content.strip() == cell.text.strip():
            return ask
        self.faults.error(
            "two system turns",
            i,
            column,
            "a system text other than the one that the dialogue begins with",
            "keep one of the two, or leave the column out with --columns system=",
        )
        return None

    def _tools(self, i: int, row: dict[str, Any], column: str, ask: Cell) -> Cell | None:
        """Schemas of tools, which a chat template writes before the dialogue."""
        tools = row[column]
        if isinstance(tools, str):
            try:
                tools = json.loads(tools)
            except (ValueError, RecursionError):
                self.faults.error(
                    "wrong type",
                    i,
                    column,
                    "text that is no JSON list of tools",
                    "write a list of schemas, or leave the column out with --columns tools=",
                )
                return None
        if not tools:
            return ask
        first, *rest = joined_turns(ask)
        more = as_more({**first.extras(), "tools": tools})
        return self.whole(i, column, Cell.of((first._replace(more=more), *rest)))
