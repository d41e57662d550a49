"""Writes a file whole or not at all: a new name, flushed to the disk, then a rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a fresh path to write to; it takes the place of `path` when the block ends.

    A process killed at any moment leaves the old file or the new one, never half of either. Where
    the block raises, the fresh file is deleted and the old one stays.

    Args:
        path: The file to replace; it need not exist. Its folder must.

    Yields:
        A path in the same folder, whose name holds this process's id.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> with replacing(folder / "a.txt") as fresh:
        ...     _ = fresh.write_text("new")
        >>> (folder / "a.txt").read_text()
        'new'
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        yield fresh
        with open(fresh, "rb") as f:
            os.fsync(f.fileno())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file's content.

    Args:
        path: The file; it need not exist. Its folder must.
        data: The whole content.
    """
    with replacing(path) as fresh:
        fresh.write_bytes(data)
