"""What is wrong with a file: every fault counted, the first of them kept word for word."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from assay.errors import InputError

SHOWN = 20  # faults kept with their words; all are counted


@dataclass(frozen=True)
class Fault:
    """One finding in one place. `row` is the line in a text file, else the row, from 1; None where
    the whole file is meant.
    """

    kind: str
    file: str
    row: int | None
    column: str | None
    found: str
    cure: str
    error: bool
    line: bool = True  # rows of this file are its lines

    def __str__(self) -> str:
        place = (
            self.file
            if self.row is None
            else f"{self.file}, {'line' if self.line else 'row'} {self.row}"
        )
        column = "" if self.column is None else f", column '{self.column}'"
        return f"{place}{column}: {self.found}; {self.cure}"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
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
    """Collects faults of one file. Errors stop whoever wants to use the file; warnings are said and
    counted.
    """

    file: str
    line: bool = True
    errors: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    shown: list[Fault] = field(default_factory=list)
    warned: list[Fault] = field(default_factory=list)
    drops: bool = True  # whether who reads the file can be told --drop

    def error(self, kind: str, row: int | None, column: str | None, found: str, cure: str) -> None:
        """Count an error; the first ones keep their words."""
        self.errors[kind] += 1
        cure = cure if self.drops else cure.replace(" with --drop", "")
        if len(self.shown) < SHOWN:
            self.shown.append(Fault(kind, self.file, row, column, found, cure, True, self.line))

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
        """Count a warning; the first of each kind keeps its words."""
        if kind not in self.warnings and len(self.warned) < SHOWN:
            self.warned.append(Fault(kind, self.file, row, column, found, cure, False, self.line))
        self.warnings[kind] += times

    def forgiven(self, kinds: frozenset[str] | set[str]) -> None:
        """Turn errors of these kinds into warnings: their rows were left out because the user said
        so.
        """
        for kind in [k for k in self.errors if k in kinds]:
            self.warnings[kind] += self.errors.pop(kind)
        self.warned += [f for f in self.shown if f.kind in kinds][
            : max(0, SHOWN - len(self.warned))
        ]
        self.shown = [f for f in self.shown if f.kind not in kinds]

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
    """A value as it may stand in a sentence: its repr, on one line, shortened."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"
