"""Checks lines of a record against their types, and says in words what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from assay.errors import InputError
from assay.records.faults import fault
from assay.records.lines import CURE, read_lines
from assay.records.schema import CompletionRow, LabelRow, QuestionRow, Reading
from assay.safe_text import visible

log = logging.getLogger("assay")

Line = TypeVar("Line")


class LineType(Generic[Line]):
    """A kind of line, and the file of the run's folder that holds such lines.

    Args:
        file: The file's name.
        line: A TypedDict.
        filled: Whether every line has all keys, None where nothing was measured.
    """

    def __init__(self, file: str, line: type[Line], *, filled: bool):
        self.file, self.keys, self.filled = file, tuple(line.__annotations__), filled
        self._adapter = TypeAdapter(list[line])  # type: ignore[valid-type]

    def read(
        self, folder: Path, renamed: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    ) -> list[Line]:
        """Return the lines of a run's folder; [] if it has no such file.

        Args:
            folder: The run's folder.
            renamed: Gives a line of an earlier schema under today's names.

        Raises:
            InputError: A line is damaged, or a value is not of its type.
        """
        path = folder / self.file
        rows = read_lines(path)
        if renamed is not None:
            rows = [renamed(r) for r in rows]
        try:
            found = self.checked(rows)
        except ValidationError as why:
            place, said = fault(why)
            raise InputError(f"{path}, line {place[0] + 1} has {said}; {CURE}") from why
        odd = {k for r in rows for k in r}.difference(self.keys)
        if odd:
            say_unknown(tuple(sorted(odd)), str(path))
        return found

    def checked(self, rows: list[dict[str, Any]]) -> list[Line]:
        """Return lines that are of their type.

        Args:
            rows: JSON objects.

        Raises:
            ValidationError: A value is not of its type.
        """
        empty = dict.fromkeys(self.keys if self.filled else ())
        return self._adapter.validate_python(
            [r if r.keys() >= empty.keys() else {**empty, **r} for r in rows]
        )

    def complete(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a line that is about to be written, with all of its keys.

        Args:
            row: What was measured.

        Returns:
            A dict with None where `row` has no entry.

        Raises:
            ValueError: A key is unknown, or there is no step: a slip of the writer.
        """
        unknown = [k for k in row if k not in self.keys]
        if unknown or not isinstance(row.get("step"), int):
            raise ValueError(
                f"a line needs a whole-number step and may have the keys {', '.join(self.keys)}; "
                f"found step {row.get('step')!r} and {unknown or 'no other keys'}"
            )
        return {**dict.fromkeys(self.keys), **row}


READINGS = LineType("readings.jsonl", Reading, filled=True)
COMPLETIONS = LineType("samples.jsonl", CompletionRow, filled=True)
QUESTIONS: LineType[Any] = LineType("questions.jsonl", QuestionRow, filled=False)
LABELS: LineType[Any] = LineType("labels.jsonl", LabelRow, filled=False)


@cache
def say_unknown(keys: tuple[str, ...], path: str) -> None:
    """Log once a file what this assay does not read of it."""
    log.warning(
        "%s has entries that this assay does not know, and does not use: %s",
        path,
        visible(", ".join(keys)),
    )
