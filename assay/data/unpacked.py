"""Bytes of files that may be packed, within bounds: a small file can unpack to more than any disk.

A file is read in a stream, so its size does not matter. What matters is how much a few bytes can
ask for: a packed file may unpack to 250 times its size (or to 1 GiB, whatever its size is), and one
line or one value may have 256 MiB.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RATIO, FREE = 250, 1 << 30  # text packs to a tenth; gzip can reach a thousandth
LONGEST = 1 << 28  # bytes of a line, characters of a value
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error)  # what a damaged gzip file raises
# The first bytes of files that are packed in other ways, which are not read.
OTHERS = {
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"7z\xbc\xaf": "7z",
    b"\x04\x22\x4d\x18": "lz4",
}
UNPACK = "unpack the file yourself if you know where it comes from; a file that is not packed is "
UNPACK += "read whatever its size"


class TooMuch(Exception):
    """A file asks for more than it may; the text says for what."""


class _Bounded(io.RawIOBase):
    """A gzip file as it unpacks."""

    def __init__(self, path: Path):
        super().__init__()
        self._file = gzip.GzipFile(path, "rb")
        self._most, self._read = max(FREE, RATIO * path.stat().st_size), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._file.readinto(buffer)
        self._read += n
        if self._read > self._most:
            raise TooMuch(
                f"it unpacks to more than {self._most:,} bytes, and no file of text is packed so "
                "tightly"
            )
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


def opened(path: Path, packed: bool) -> io.BufferedReader:
    """Open a file of bytes.

    Args:
        path: The file.
        packed: Whether it is gzipped.

    Returns:
        The file. Reading it raises one of `BROKEN` where it is damaged, and TooMuch where it
        unpacks to more than it may.
    """
    return io.BufferedReader(_Bounded(path), 1 << 17) if packed else open(path, "rb")


def lines(file: Any) -> Iterator[Any]:
    """Yield the lines of a file of bytes or of text.

    Raises:
        TooMuch: A line is longer than `LONGEST`.
    """
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise TooMuch(f"the line is longer than {LONGEST:,} bytes")
        yield line
