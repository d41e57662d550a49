"""Checks lines of a record against their types, and says in words what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from assay.errors import InputError
from assay.records.lines import CURE, read_lines
from assay.records.schema import CompletionRow, LabelRow, QuestionRow, Reading
from assay.safe_text import visible

log = logging.getLogger("assay")

Line = TypeVar("Line")
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "str": "text",
    "dict": "an object",
}


def fault(why: ValidationError) -> tuple[list[Any], str]:
    """Say the first thing that is wrong with a value.

    Args:
        why: What pydantic found.

    Returns:
        (place, sentence part): the path to the value, and what was found and expected there, such
        as "step 'one' where a whole number was expected".
    """
    first = why.errors(include_url=False)[0]
    names = [p for p in first["loc"] if not _of_a_type(p)]
    if first["type"] == "missing":
        return names, f"no {'.'.join(str(p) for p in names if not isinstance(p, int))}"
    kind = first.get("ctx", {}).get("class", first["type"])
    wanted = _EXPECTED.get(kind) or first["msg"].removeprefix("Input should be ").lower()
    name = ".".join(str(p) for p in names if not isinstance(p, int)) or "it"
    return names, f"{name} {first['input']!r:.40} where {wanted} was expected"


def _of_a_type(part: Any) -> bool:
    """Whether a part of pydantic's path names a member of a union and no key."""
    return isinstance(part, str) and part in ("int", "float", "none")


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
