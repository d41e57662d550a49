"""Faults of a data file: all are counted, and the first ones are kept with their words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from assay.errors import InputError

SHOWN = 20  # faults that are kept with their words
DROP = "leave such rows out with --drop"
FIX = f"repair the row, or {DROP}"
ONE_PROMPT = f"keep one prompt a row, or {DROP}"
_GONE = "such rows are left out, because of --drop"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: What kind of fault it is, by which faults are counted.
        file: The file's name.
        row: The line of a text file, or else the row, from 1; None for the whole file.
        column: The column; None for the whole row.
        found: What was found.
        cure: What to do.
        error: Whether it is an error or a warning.
        line: Whether the rows of this file are its lines.
    """

    kind: str
    file: str
    row: int | None
    column: str | None
    found: str
    cure: str
    error: bool
    line: bool = True

    def __str__(self) -> str:
        place = (
            self.file
            if self.row is None
            else f"{self.file}, {'line' if self.line else 'row'} {self.row}"
        )
        column = "" if self.column is None else f", column '{self.column}'"
        return f"{place}{column}: {self.found}; {self.cure}"

    def plain(self) -> dict[str, Any]:
        """The fault as JSON has it."""
        return {
            "kind": self.kind,
            "file": self.file,
            "row": self.row,
            "column": self.column,
            "found": self.found,
            "cure": self.cure,
            "error": self.error,
        }


@dataclass
class Faults:
    """The faults of one file. `stop` raises the errors; warnings are counted and shown.

    Attributes:
        file: The file's name.
        line: Whether its rows are its lines.
        errors: Errors by kind.
        warnings: Warnings by kind.
        shown: The first errors.
        warned: The first warning of each kind.
        drops: Whether the reader of the file has a flag --drop.
        unread: How often each thing that nothing reads stands in the file, such as "column 'id'".
        apart: How often each column that looks like a part of the prompt says something that
            stands in no column that is read.
    """

    file: str
    line: bool = True
    errors: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    shown: list[Fault] = field(default_factory=list)
    warned: list[Fault] = field(default_factory=list)
    drops: bool = True
    unread: Counter[str] = field(default_factory=Counter)
    apart: Counter[str] = field(default_factory=Counter)

    def error(self, kind: str, row: int | None, column: str | None, found: str, cure: str) -> None:
        """Count an error; the first ones keep their words.

        Args:
            kind: By which errors are counted.
            row: The line or row, from 1; None for the whole file.
            column: The column; None for the whole row.
            found: What was found.
            cure: What to do.
        """
        self.errors[kind] += 1
        if not self.drops:
            cure = cure.replace(DROP, "remove it (assay check lists such rows)")
        if len(self.shown) >= SHOWN and self.errors[kind] == 1:
            self._make_room()  # `forgiven` may leave this one alone
        if len(self.shown) < SHOWN:
            self.shown.append(Fault(kind, self.file, row, column, found, cure, True, self.line))

    def _make_room(self) -> None:
        """Forget the last fault whose kind is shown more than once."""
        kinds = Counter(f.kind for f in self.shown)
        last = next((f for f in reversed(self.shown) if kinds[f.kind] > 1), None)
        if last is not None:
            self.shown.remove(last)

    def warn(
        self,
        kind: str,
        row: int | None,
        column: str | None,
        found: str,
        cure: str,
        *,
        times: int = 1,
    ) -> None:
        """Count a warning; the first of each kind keeps its words.

        Args:
            kind: By which warnings are counted.
            row: The line or row, from 1; None for the whole file.
            column: The column; None for the whole row.
            found: What was found.
            cure: What to do.
            times: How often it occurs.
        """
        if kind not in self.warnings and len(self.warned) < SHOWN:
            self.warned.append(Fault(kind, self.file, row, column, found, cure, False, self.line))
        self.warnings[kind] += times

    def forgiven(self, kinds: frozenset[str] | set[str]) -> None:
        """Turn errors of these kinds into warnings, because the user left their rows out."""
        for kind in [k for k in self.errors if k in kinds]:
            self.warnings[kind] += self.errors.pop(kind)
        room = max(0, SHOWN - len(self.warned))
        gone = [replace(f, cure=_GONE, error=False) for f in self.shown if f.kind in kinds]
        self.warned += gone[:room]
        self.shown = [f for f in self.shown if f.kind not in kinds]

    def skip(self, what: str, times: int = 1) -> None:
        """Count something that nothing reads.

        Args:
            what: Its name for people, such as "column 'id'".
            times: How often it stands there.
        """
        if times:  # a name may hold half a character, which no terminal prints
            self.unread[what.encode("utf-8", "backslashreplace").decode()] += times

    def not_read(self) -> str:
        """A phrase that names all that nothing reads, with how often; "" for nothing."""
        return ", ".join(f"{what} ({n:,})" for what, n in self.unread.items())

    def stop(self) -> None:
        """Raise InputError with the first error's sentence and the count of the rest."""
        if not self.errors:
            return
        total, first = sum(self.errors.values()), self.shown[0]
        counts = ", ".join(f"{n:,} × {kind}" for kind, n in self.errors.most_common())
        more = (
            ""
            if total == 1
            else f" ({total:,} errors in all: {counts}; `assay check {self.file}` shows the first "
            f"{SHOWN})"
        )
        raise InputError(f"{first}{more}")


def clipped(value: Any, most: int = 60) -> str:
    """The repr of a value, shortened for a sentence."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"
