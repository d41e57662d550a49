"""Preference pairs out of rows, whatever dialect they are written in; every fault told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assay.data.faults import Faults, clipped
from assay.data.kinds import Layout, number
from assay.data.turns import Turns, prefix, shared, transcript, turns_of, written

_FIX = "repair the row, or leave such rows out with --drop"
FIRST_WORDS = ("a", "first", "response_a", "model_a", "response_1", "output_1")
SECOND_WORDS = ("b", "second", "response_b", "model_b", "response_2", "output_2")
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
    """One comparison. `p`: the chance that `chosen` is truly better; `turns`: the prompt's, where
    it was a dialogue.
    """

    row: int
    prompt: str
    chosen: str
    rejected: str
    p: float = 1.0
    margin: float = 0.0
    turns: Turns | None = None


def pairs(
    rows: Iterator[tuple[int, dict[str, Any]]], layout: Layout, faults: Faults
) -> Iterator[Pair]:
    """Stream the pairs of a file, chosen first. Rows with faults are counted in `faults` and left
    out; ties of a choices file keep both answers with p = ½, and equal answers are left out because
    they say nothing.
    """
    reader = _Reader(layout, faults)
    for i, row in rows:
        pair = reader.pair(i, row)
        if pair is not None:
            yield pair


class _Reader:
    """Reads rows of one layout; remembers whether the file's cells are texts or messages."""

    def __init__(self, layout: Layout, faults: Faults):
        self.layout, self.faults = layout, faults
        self.form: type | None = None
        self.names = ("chosen", "rejected") if layout.kind == "pairs" else ("first", "second")
        self.columns = tuple(layout.parts[part] for part in self.names)
        self.ask = layout.parts.get("prompt")
        self.labeled = layout.kind == "choices" or not {"p", "margin"}.isdisjoint(layout.parts)

    def pair(self, i: int, row: dict[str, Any]) -> Pair | None:
        """The row's pair, None where it has none that could be used."""
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
                "write all answers as text or all as messages",
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
                "an empty answer",
                _FIX,
            )
            return None
        if first == second:
            self.faults.warn(
                "chosen equals rejected",
                i,
                self.columns[1],
                "both answers are the same text",
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
                "both answers begin with the prompt",
                "it was cut from them",
            )
            first, second = first[len(ask) :], second[len(ask) :]
        if "prompt" not in self.layout.parts:
            cut = prefix(first, second) if first != second else 0
            if cut == 0 and first != second:
                self.faults.warn(
                    "no shared prompt",
                    i,
                    None,
                    "there is no prompt column and the answers share no beginning",
                    "these pairs have an empty prompt",
                )
            ask, first, second = first[:cut], first[cut:], second[cut:]
        turns = transcript(ask)
        if turns is None:
            return ask, first, second, None
        said = turns[:-1] if turns[-1] == ("assistant", "") else turns
        return written(said), first.strip(), second.strip(), said

    def _messages(self, ask: Any, first: Any, second: Any) -> tuple[str, str, str, Turns | None]:
        if isinstance(ask, str):
            begin: Turns = (("user", ask),) if ask else ()
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
        """(p, margin), None where the row's label is faulty."""
        if self.layout.kind == "choices":
            return _verdict(i, row, self.layout, self.faults), 0.0
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
        if part not in self.layout.parts:
            return default
        return finite(i, row.get(self.layout.parts[part]), self.layout.parts[part], self.faults)


def finite(i: int, value: Any, column: str, faults: Faults) -> float | None:
    """A finite number, or a fault and None."""
    if value is None or value == "":
        faults.error("null cell", i, column, "null" if value is None else "an empty cell", _FIX)
        return None
    x = number(value)
    if x is None or not math.isfinite(x):
        faults.error("not a finite number", i, column, clipped(value), _FIX)
        return None
    return x


def _verdict(i: int, row: dict[str, Any], layout: Layout, faults: Faults) -> float | None:
    """The chance that the first of two answers is better, as raters, an id, a number or a word say
    it.
    """
    column = layout.parts["verdict"]
    value = row.get(column)
    if value is None or value == []:
        faults.error("null cell", i, column, "null" if value is None else "an empty list", _FIX)
        return None
    votes = [_vote(v, column, layout) for v in (value if isinstance(value, list) else [value])]
    known = [v for v in votes if v is not None]
    if len(known) < len(votes):
        faults.error(
            "unknown verdict",
            i,
            column,
            clipped(value),
            "say 1 or 2 (0 for a tie), 'a' or 'b', or the better one's column",
        )
        return None
    return sum(known) / len(known)


def _vote(value: Any, column: str, layout: Layout) -> float | None:
    """1 for the first, 0 for the second, ½ for a tie."""
    first, second = layout.parts["first"], layout.parts["second"]
    zero_based = first.endswith("_0")
    if isinstance(value, str) and number(value) is None:
        word = value.strip().lower()
        if word in ("tie", "draw", "equal", "both"):
            return 0.5
        if word in (first.lower(), *FIRST_WORDS):
            return 1.0
        return 0.0 if word in (second.lower(), *SECOND_WORDS) else None
    x = number(value)
    if x is None or not math.isfinite(x):
        return None
    if column == "preference_strength":
        return 0.5 if x == 0 else float(x < 0)
    names = {0.0: 1.0, 1.0: 0.0} if zero_based else {0.0: 0.5, 1.0: 1.0, 2.0: 0.0}
    return names.get(x)
