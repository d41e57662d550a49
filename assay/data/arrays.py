"""Read the elements of a JSON array one at a time, so that a file can be larger than memory."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from typing import Any, NoReturn

from assay.data.unpacked import LONGEST, TooMuch

_CHUNK = 1 << 20
# A scan that fails, or a number that ends, this near to the end of what was read may lack the rest.
_NEAR = 16


class Repeated(ValueError):
    """An object has a key twice, and one of the two values would be lost."""


def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs.

    Raises:
        Repeated: A key stands twice in it.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [k for k, _ in pairs]
        twice = next(k for k in keys if keys.count(k) > 1)
        raise Repeated(f"the key {twice[:40]!r} stands {keys.count(twice)} times in one object")
    return made


class Elements:
    """Iterates over the values of a JSON array.

    The values before any damage are yielded before the error is raised.

    Args:
        file: The array, in UTF-8 with or without a byte-order mark.

    Attributes:
        line: The line that is being read.

    Raises:
        ValueError: The array is damaged; with line and column.
        TooMuch: A value is longer than `LONGEST`.
    """

    def __init__(self, file: io.BufferedIOBase):
        self.file, self.line = file, 1
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder(object_pairs_hook=unrepeated).raw_decode
        self._text, self._at, self._column, self._whole = "", 0, 1, False

    def __iter__(self) -> Iterator[Any]:
        if self._next() != "[":
            self._damaged("Expecting '['")
        self._at += 1
        if self._next() == "]":
            self._at += 1
        else:
            yield self._value()
            while (mark := self._next()) == ",":
                self._at += 1
                self._next()
                yield self._value()
            if mark != "]":
                self._damaged("Expecting ',' delimiter")
            self._at += 1
        if self._next():
            self._damaged("Extra data")

    def _next(self) -> str:
        """The next character that is not blank, without consuming it; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\n\r":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(_CHUNK):
                return ""

    def _value(self) -> Any:
        size = _CHUNK
        while True:
            try:
                found, end = self._scan(self._text, self._at)
                if (
                    self._whole
                    or self._text[end : end + 1] in tuple(",] \t\n\r")
                    or end + _NEAR < len(self._text)
                ):
                    self._at = end
                    return found
            except json.JSONDecodeError as why:
                cut = why.msg.startswith("Unterminated string") or why.pos > len(self._text) - _NEAR
                if self._whole or not cut:
                    self._at = why.pos
                    self._damaged(why.msg)
            if len(self._text) - self._at > LONGEST:
                raise TooMuch(f"one value is longer than {LONGEST:,} characters")
            self._more(size)
            size *= 2  # a long value is scanned again only a few times

    def _more(self, size: int) -> bool:
        """Read another chunk; False at the end of the file."""
        raw = self.file.read(size)
        self._whole = not raw
        self._pass()
        self._text += self._decode(raw, not raw)
        return bool(raw)

    def _pass(self) -> None:
        """Drop what has been scanned, and count its lines."""
        done = self._text[: self._at]
        self.line += done.count("\n")
        self._column = len(done) - done.rfind("\n") if "\n" in done else self._column + len(done)
        self._text, self._at = self._text[self._at :], 0

    def _damaged(self, what: str) -> NoReturn:
        self._pass()
        raise ValueError(f"{what}: line {self.line} column {self._column}")
