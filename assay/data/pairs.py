"""Preference pairs from rows, in any of the forms in which people write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assay.data.cells import Cell, joined_turns, reply_turns
from assay.data.dialogues import (
    answered,
    is_plain,
    joined,
    trimmed,
    uncopied,
    unsaid,
    with_tools,
)
from assay.data.faults import FIX, ONE_PROMPT, Faults
from assay.data.kinds import Layout
from assay.data.prompt_cells import PromptCells
from assay.data.text_cells import rounds
from assay.data.turns import Turn, Turns, prefix, shared, transcript, written
from assay.data.verdicts import first_wins, optional

DROPPABLE = frozenset(
    {
        "null cell",
        "wrong type",
        "empty text",
        "half a character",
        "no completion",
        "other prompt",
        "two system turns",
        "not a finite number",
        "out of range",
        "unknown verdict",
        "bad JSON",
        "repeated key",
        "not UTF-8",
        "ragged row",
        "missing cell",
    }
)


@dataclass(frozen=True, slots=True)
class Pair:
    """One comparison.

    Attributes:
        row: Its row in the file.
        prompt: The prompt.
        chosen: The preferred completion.
        rejected: The other completion.
        p: Probability that `chosen` is truly better.
        margin: By how much, in reward units; 0 where the file does not say.
        turns: The prompt's turns, if it is a dialogue.
        replies: Both completions' turns, if one of them is more than the assistant's plain text:
            it calls tools, it has a reasoning of its own, or further turns follow.
    """

    row: int
    prompt: str
    chosen: str
    rejected: str
    p: float = 1.0
    margin: float = 0.0
    turns: Turns | None = None
    replies: tuple[Turns, Turns] | None = None


def pairs(
    rows: Iterator[tuple[int, dict[str, Any]]], layout: Layout, faults: Faults
) -> Iterator[Pair]:
    """Read the pairs of a file, the chosen completion first.

    A tie of a choices file is a pair with p = ½. Two equal completions say nothing and are left
    out.

    Args:
        rows: (row number, row).
        layout: Which columns to read.
        faults: Counts rows with faults, which are left out.
    """
    reader = _Reader(layout, faults)
    for i, row in rows:
        pair = reader.pair(i, row)
        if pair is not None:
            yield pair


# prompt, first, second, the prompt's turns, both completions' turns
_Made = tuple[str, str, str, Turns | None, tuple[Turns, Turns] | None]


class _Reader:
    """Reads rows of one layout."""

    def __init__(self, layout: Layout, faults: Faults):
        self.layout, self.faults = layout, faults
        self.cells = PromptCells(layout, faults)
        self.names = ("chosen", "rejected") if layout.kind == "pairs" else ("first", "second")
        self.columns = tuple(layout.parts[part] for part in self.names)
        self.ask = layout.parts.get("prompt")
        self.labeled = layout.kind == "choices" or not {"p", "margin"}.isdisjoint(layout.parts)

    def pair(self, i: int, row: dict[str, Any]) -> Pair | None:
        """The row's pair; None if it has none that can be used."""
        self.cells.count_unread(row)
        p, margin = self._label(i, row) if self.labeled else (1.0, 0.0)
        read = self._rounds(i, row) if self._in_rounds(row) else self._cells(i, row)
        if p is None or margin is None or read is None:
            return None
        ask, one, two = read
        talk = one.turns is not None or two.turns is not None
        made = self._dialogues(i, ask, one, two) if talk else self._texts(i, ask, one, two)
        if made is None:
            return None
        prompt, first, second, turns, replies = made
        if not first.strip() or not second.strip():
            column = self.columns[0 if not first.strip() else 1]
            self.faults.error("empty text", i, column, "an empty completion", FIX)
            return None
        if first == second:
            self.faults.warn(
                "chosen equals rejected",
                i,
                self.columns[1],
                "both completions are the same text",
                "such pairs say nothing and are left out",
            )
            return None
        if self.ask is not None and not prompt.strip():
            self.faults.error("empty text", i, self.ask, "an empty prompt", FIX)
            return None
        if p < 0.5:
            first, second, p, margin = second, first, 1 - p, -margin
            replies = None if replies is None else (replies[1], replies[0])
        return Pair(i, prompt, first, second, p, margin, turns, replies)

    def _cells(self, i: int, row: dict[str, Any]) -> tuple[Cell, Cell, Cell] | None:
        """The prompt and both completions; None where one is faulty."""
        one, two = (self.cells.cell(i, row, column) for column in self.columns)
        ask = self.cells.prompt(i, row) if self.ask is not None else Cell("")
        if ask is None or one is None or two is None:
            return None
        if self.ask is None and one.turns is None and two.turns is None:
            turns = transcript(one.text), transcript(two.text)
            if turns[0] is not None and turns[1] is not None:
                return ask, Cell.of(turns[0]), Cell.of(turns[1])
        return ask, one, two

    def _in_rounds(self, row: dict[str, Any]) -> bool:
        """Whether all three columns hold lists of texts, one a round."""
        columns = (self.ask, *self.columns)
        return self.ask is not None and all(rounds(row.get(str(c))) is not None for c in columns)

    def _rounds(self, i: int, row: dict[str, Any]) -> tuple[Cell, Cell, Cell] | None:
        """A dialogue of several rounds, written as lists of texts in all three columns."""
        asks, *answers = (rounds(row.get(str(c))) or () for c in (self.ask, *self.columns))
        cells = list[Cell | None]()
        for column, said in zip(self.columns, answers, strict=True):
            if len(said) != len(asks):
                found = f"{len(said)} rounds, where '{self.ask}' has {len(asks)}"
                self.cells.wrong(i, column, found, FIX)
                return None
            talk = (
                Turn(role, text)
                for two in zip(asks, said, strict=True)
                for role, text in zip(("user", "assistant"), two, strict=True)
            )
            cell = self.cells.whole(i, column, Cell.of(tuple(talk)))
            cells.append(cell and self.cells.join(i, row, cell))
        return None if cells[0] is None or cells[1] is None else (Cell(""), cells[0], cells[1])

    def _texts(self, i: int, ask: Cell, one: Cell, two: Cell) -> _Made | None:
        first, second, prompt = one.text, two.text, ask.text
        if ask.text:
            later = [reply_turns(ask, text) for text in (first, second)]
            if later[0] is not None or later[1] is not None:
                cells = (
                    Cell.of(said or (Turn("assistant", text.strip()),))
                    for said, text in zip(later, (first, second), strict=True)
                )
                return self._dialogues(i, ask, *cells)
        if ask.turns is not None:
            begin = unsaid(ask.turns, first, second)
            return written(begin), first.strip(), second.strip(), begin, None
        if prompt and first.startswith(prompt) and second.startswith(prompt):
            self.faults.warn(
                "prompt repeated",
                i,
                self.ask,
                "both completions begin with the prompt",
                "it was removed from them",
            )
            first, second = first[len(prompt) :], second[len(prompt) :]
        if self.ask is None:
            cut = prefix(first, second) if first != second else 0
            if cut == 0 and first != second:
                self.faults.warn(
                    "no shared prompt",
                    i,
                    None,
                    "there is no prompt column, and the completions share no beginning",
                    "these pairs have an empty prompt",
                )
            prompt, first, second = first[:cut], first[cut:], second[cut:]
        return prompt, first, second, None, None

    def _dialogues(self, i: int, ask: Cell, one: Cell, two: Cell) -> _Made | None:
        """Completions of which one at least is turns."""
        first, second = (
            c.turns if c.turns is not None else (Turn("assistant", c.text),) for c in (one, two)
        )
        begin = whole = joined_turns(ask) if ask.text else ()
        n = shared(first, second)
        if begin:
            begin = uncopied(begin, first, second)
            begin, third = answered(begin, first[:n])
            self.faults.skip(f"turns of column '{self.ask}' that answer its prompt", len(third))
        prompt = joined(begin, first[:n])
        prompt = None if prompt is None else with_tools(whole, prompt)
        rest, left = zip(*(trimmed(x[n:]) for x in (first, second)), strict=True)
        if prompt is None or any(x and x[0].role != "assistant" for x in rest):
            self.faults.error(
                "other prompt",
                i,
                self.columns[0],
                "a dialogue that does not go on from the prompt column"
                if prompt is None
                else "dialogues with different prompts",
                ONE_PROMPT,
            )
            return None
        for column, x, after in zip(self.columns, rest, left, strict=True):
            if not x:
                self.faults.error("no completion", i, column, "no turn of the assistant", FIX)
                return None
            self.faults.skip("turns after the assistant's last one", len(after))
        replies = None if is_plain(rest[0]) and is_plain(rest[1]) else (rest[0], rest[1])
        text = written(prompt) if prompt else ""
        return text, written(rest[0]), written(rest[1]), prompt or None, replies

    def _label(self, i: int, row: dict[str, Any]) -> tuple[float | None, float | None]:
        """(p, margin); None for a label that is faulty."""
        if self.layout.kind == "choices":
            better = first_wins(i, row, self.layout, self.faults)
            by = self._number(i, row, "margin", 0.0)
            if better is None or by is None or better == 0.5:
                return better, 0.0 if by is not None else None
            return better, abs(by) if better > 0.5 else -abs(by)  # a strength is the better one's
        p = self._number(i, row, "p", 1.0)
        margin = self._number(i, row, "margin", 0.0)
        if p is not None and not 0 <= p <= 1:
            self.faults.error(
                "out of range",
                i,
                self.layout.parts["p"],
                f"{p:g}, which is no probability",
                "give 0 to 1",
            )
            p = None
        return p, margin

    def _number(self, i: int, row: dict[str, Any], part: str, default: float) -> float | None:
        return optional(i, row, part, self.layout, self.faults, default)
