"""Preference pairs from rows, in any of the forms in which people write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assay.data.faults import Faults
from assay.data.kinds import Layout
from assay.data.turns import Turn, Turns, prefix, shared, transcript, turns_of, written
from assay.data.verdicts import first_wins, optional

_FIX = "repair the row, or leave such rows out with --drop"
DROPPABLE = frozenset(
    {
        "null cell",
        "wrong type",
        "mixed types",
        "empty text",
        "not a finite number",
        "out of range",
        "unknown verdict",
        "bad JSON",
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


class _Reader:
    """Reads rows of one layout, and remembers whether the file's cells are texts or messages."""

    def __init__(self, layout: Layout, faults: Faults):
        self.layout, self.faults = layout, faults
        self.form: type | None = None
        self.names = ("chosen", "rejected") if layout.kind == "pairs" else ("first", "second")
        self.columns = tuple(layout.parts[part] for part in self.names)
        self.ask = layout.parts.get("prompt")
        self.labeled = layout.kind == "choices" or not {"p", "margin"}.isdisjoint(layout.parts)

    def pair(self, i: int, row: dict[str, Any]) -> Pair | None:
        """The row's pair; None if it has none that can be used."""
        p, margin = self._label(i, row) if self.labeled else (1.0, 0.0)
        one, two = (self._cell(i, row, column) for column in self.columns)
        ask = self._cell(i, row, self.ask) if self.ask is not None else ""
        if p is None or margin is None or ask is None or one is None or two is None:
            return None
        form = type(one)
        if (
            type(two) is not form
            or (ask and form is str and type(ask) is not str)
            or (self.form and form is not self.form)
        ):
            self.faults.error(
                "mixed types",
                i,
                self.columns[1],
                "text here and a list of messages elsewhere",
                "write all completions as text or all as messages",
            )
            return None
        self.form = form
        prompt, first, second, turns = (
            self._messages(ask, one, two) if form is tuple else self._texts(i, ask, one, two)
        )
        if not first.strip() or not second.strip():
            self.faults.error(
                "empty text",
                i,
                self.columns[0 if not first.strip() else 1],
                "an empty completion",
                _FIX,
            )
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
            self.faults.error("empty text", i, self.ask, "an empty prompt", _FIX)
            return None
        if p < 0.5:
            first, second, p, margin = second, first, 1 - p, -margin
        return Pair(i, prompt, first, second, p, margin, turns)

    def _cell(self, i: int, row: dict[str, Any], column: str) -> str | Turns | None:
        value = row.get(column)
        if isinstance(value, str):
            return value
        if column not in row:
            self.faults.error("missing cell", i, column, "the row has no such column", _FIX)
            return None
        if value is None:
            self.faults.error("null cell", i, column, "null", _FIX)
            return None
        turns = turns_of(value)
        if isinstance(turns, str):
            self.faults.error(
                "wrong type", i, column, turns, "write text, or a list of {role, content}"
            )
            return None
        return turns

    def _texts(
        self, i: int, ask: Any, first: Any, second: Any
    ) -> tuple[str, str, str, Turns | None]:
        if isinstance(ask, tuple):
            return written(ask), first, second, ask
        if ask and first.startswith(ask) and second.startswith(ask):
            self.faults.warn(
                "prompt repeated",
                i,
                self.layout.parts["prompt"],
                "both completions begin with the prompt",
                "it was removed from them",
            )
            first, second = first[len(ask) :], second[len(ask) :]
        if "prompt" not in self.layout.parts:
            cut = prefix(first, second) if first != second else 0
            if cut == 0 and first != second:
                self.faults.warn(
                    "no shared prompt",
                    i,
                    None,
                    "there is no prompt column, and the completions share no beginning",
                    "these pairs have an empty prompt",
                )
            ask, first, second = first[:cut], first[cut:], second[cut:]
        turns = transcript(ask)
        if turns is None:
            return ask, first, second, None
        before = turns[:-1] if turns[-1] == Turn("assistant", "") else turns
        return written(before), first.strip(), second.strip(), before

    def _messages(self, ask: Any, first: Any, second: Any) -> tuple[str, str, str, Turns | None]:
        if isinstance(ask, str):
            begin: Turns = (Turn("user", ask),) if ask else ()
        else:
            begin = ask
        if begin and first[: len(begin)] == begin and second[: len(begin)] == begin:
            first, second = first[len(begin) :], second[len(begin) :]
        n = shared(first, second)
        turns = (*begin, *first[:n])
        return (
            written(turns) if turns else "",
            written(first[n:]),
            written(second[n:]),
            turns or None,
        )

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
