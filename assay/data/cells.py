"""Single cells of a row as text and turns; a cell that is neither is counted as a fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from assay.data.dialogues import contains
from assay.data.faults import FIX, Faults
from assay.data.kinds import Layout
from assay.data.messages import Unreadable, turns_of
from assay.data.prompt_columns import LIKE_A_PROMPT
from assay.data.text_cells import LONGEST, literal, parsed
from assay.data.turns import EMPTY, Turn, Turns, continued, transcript, written


class Cell(NamedTuple):
    """A cell that was read.

    Attributes:
        text: Its text; that of a dialogue is a transcript.
        turns: Its turns; None for plain text.
        spoken: Whether its turns come from a `Human:/Assistant:` transcript.
    """

    text: str
    turns: Turns | None = None
    spoken: bool = False

    @classmethod
    def of(cls, turns: Turns, spoken: bool = False) -> Cell:
        """The cell of a dialogue."""
        return cls(written(turns), turns, spoken)


def joined_turns(cell: Cell) -> Turns:
    """A prompt's turns; a plain text is one turn of the user."""
    return cell.turns if cell.turns is not None else (Turn("user", cell.text),)


def reply_turns(prompt: Cell, text: str) -> Turns | None:
    """The turns of a completion that is text.

    A transcript that repeats the prompt is a dialogue. After a prompt that is a transcript, a text
    in which `Human:` speaks again goes on as one. After any other prompt such marks are words that
    the completion says.

    Args:
        prompt: The prompt.
        text: The completion.

    Returns:
        The whole dialogue, or the turns that go on from the prompt; None for plain text.
    """
    whole = transcript(text)
    if whole is not None and (prompt.spoken or contains(whole, joined_turns(prompt))):
        return whole
    return continued(text) if prompt.spoken else None


class Cells:
    """Reads the cells of one file.

    Args:
        layout: Its columns.
        faults: Counts faulty cells, and what is not read.
    """

    def __init__(self, layout: Layout, faults: Faults):
        self.layout, self.faults = layout, faults
        self.read = set(layout.parts.values())

    def count_unread(self, row: dict[str, Any]) -> None:
        """Count the cells of a row that stand in columns that play no part.

        Those that look like a part of the prompt are counted once more, unless what they say stands
        in a column that is read.
        """
        for column, value in row.items():
            if column in self.read or value in EMPTY:
                continue
            self.faults.skip(f"column '{column}'")
            if column in LIKE_A_PROMPT:
                known = [text for c in self.read for text in _texts(row.get(c))]
                if not all(any(t.strip() in k for k in known) for t in _said(value)):
                    self.faults.apart[column] += 1

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
            return self.whole(i, column, Cell.of(turns_of(value, self.faults)))
        except Unreadable as why:
            self.wrong(i, column, str(why), f"write text, or a list of {{role, content}}; {FIX}")
            return None

    def wrong(self, i: int, column: str, found: str, cure: str) -> None:
        """Count a cell that holds something else than it should."""
        self.faults.error("wrong type", i, column, found, cure)

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


def _texts(value: Any) -> Iterator[str]:
    """All texts of a cell."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _said(value: Any) -> list[str]:
    """What a cell says: its text, or the contents of its messages."""
    if isinstance(value, str) and value.lstrip()[:1] == "[" and len(value) <= LONGEST:
        value = literal(value) or value
    try:
        return [turn.content for turn in turns_of(value)]
    except Unreadable:
        return list(_texts(value))
