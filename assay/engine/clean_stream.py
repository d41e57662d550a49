"""The last place before a terminal: a stream through which no hostile character passes.

Whatever is printed (results, errors, logs, warnings, tracebacks, lines of other libraries) is made
visible when it is written, so that no caller can forget it. Styles of our own are written with
`STYLE` in place of the escape character. It is drawn at random in each process, so that no text
written before can hold it, and only codes for colours and weights are read after it.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from assay.safe_text import visible

STYLE = f"\ufdd0{secrets.token_hex(8)}"  # the escape character of our own styles
_STYLED = re.compile(f"{STYLE}(\\[[0-9;]*m)")


class CleanStream:
    """A text stream whose invisible characters are spelled out.

    Args:
        raw: The stream that is written to. Everything but writing is its own.

    Example:
        >>> import io
        >>> out = CleanStream(io.StringIO())
        >>> print(f"\\x1b[2J {STYLE}[1mbold{STYLE}[0m", file=out)
        >>> out.raw_stream.getvalue()
        '⟨U+001B⟩[2J \\x1b[1mbold\\x1b[0m\\n'
    """

    def __init__(self, raw: Any):
        self.raw_stream = raw

    def write(self, text: str) -> int:
        """Write a text."""
        if text.isascii() and text.isprintable():
            self.raw_stream.write(text)
            return len(text)
        pieces = _STYLED.split(text)
        self.raw_stream.write(
            "".join(f"\x1b{p}" if i % 2 else visible(p) for i, p in enumerate(pieces))
        )
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw_stream, name)


class StyledFile(CleanStream):
    """What a console of rich writes to whose texts are clean already: its styles are ours."""

    def write(self, text: str) -> int:
        """Write a text."""
        self.raw_stream.write(styled(text))
        return len(text)


def styled(text: str) -> str:
    """Clean text with styles as rich writes them, as text for a `CleanStream`."""
    return re.sub("\x1b(?=\\[[0-9;]*m)", STYLE, text)


def raw(stream: Any) -> Any:
    """The stream beneath; the stream itself where nothing cleans it.

    It is for what draws: text that is written to it has to be visible already.
    """
    return stream.raw_stream if isinstance(stream, CleanStream) else stream


def clean(stream: Any) -> Any:
    """A stream that cleans; the stream itself where it does."""
    return stream if isinstance(stream, CleanStream) else CleanStream(stream)


@contextmanager
def clean_streams() -> Iterator[None]:
    """Clean all that is written to stdout and stderr within the block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = clean(sys.stdout), clean(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
