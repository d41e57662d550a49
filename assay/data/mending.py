"""Put whole characters where a file has half ones, and count what a repair does, by kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from assay.data.faults import Faults
from assay.data.messages import Unreadable
from assay.data.text_cells import parsed

SOME = 5  # rows of each kind that are named
_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")


def mended(value: Any) -> tuple[Any, int]:
    """Replace each half of a surrogate pair by U+FFFD, the sign for a character that is lost.

    Args:
        value: A row, or a part of one.

    Returns:
        The value, and how many characters were replaced.

    Example:
        >>> mended({"prompt": "an emoji: " + chr(0xD83D)})
        ({'prompt': 'an emoji: \ufffd'}, 1)
    """
    if isinstance(value, str):
        if _ESCAPED.search(value):  # messages that were written into a cell as text
            try:
                held = parsed(value)
            except Unreadable:
                held = None
            made, n = mended(held)
            if n:
                return made, n
        return (value, 0) if value.isascii() else _HALF.subn("\ufffd", value)
    if isinstance(value, Mapping):
        pairs = [(mended(k), mended(v)) for k, v in value.items()]
        n = sum(k[1] + v[1] for k, v in pairs)
        return ({k[0]: v[0] for k, v in pairs} if n else value), n
    if isinstance(value, list | tuple):
        each = [mended(v) for v in value]
        n = sum(count for _, count in each)
        return ([v for v, _ in each] if n else value), n
    return value, 0


@dataclass
class Tally:
    """How often each kind of thing was done, and in which rows first.

    Attributes:
        counts: How often, by kind.
        rows: The first rows of each kind.
    """

    counts: dict[str, int] = field(default_factory=dict)
    rows: dict[str, list[int]] = field(default_factory=dict)

    def add(self, kind: str, row: int | None = None, times: int = 1) -> None:
        """Count a kind, and keep the row if it is one of the first.

        Args:
            kind: The kind.
            row: The row or line; None for the whole file.
            times: How often it occurs.
        """
        self.counts[kind] = self.counts.get(kind, 0) + times
        some = self.rows.setdefault(kind, [])
        if row is not None and len(some) < SOME and row not in some:
            some.append(row)

    def plain(self) -> dict[str, dict[str, Any]]:
        """The tally as JSON has it, the most frequent kind first."""
        order = sorted(self.counts, key=lambda kind: -self.counts[kind])
        return {kind: {"count": self.counts[kind], "rows": self.rows[kind]} for kind in order}


class Damage(Faults):
    """Counts the rows that no reader gets, such as lines that are no JSON.

    Args:
        file: The file's name.
        line: Whether its rows are its lines.
        left: Where they are counted.
        done: Where what was repaired is counted.
    """

    def __init__(self, file: str, line: bool, left: Tally, done: Tally):
        super().__init__(file, line)
        self._left, self._done = left, done

    def error(self, kind: str, row: int | None, column: str | None, found: str, cure: str) -> None:
        """Count a row that cannot be read."""
        self.errors[kind] += 1
        self._left.add(kind, row)

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
        """Count what the reader of a file skips, such as a byte-order mark."""
        self._done.add(f"{kind} (removed)", row, times)


def mended_rows(rows: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """(row number, row) with whole characters."""
    for i, row in rows:
        yield i, mended(row)[0]
