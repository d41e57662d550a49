"""Writes a file whole or not at all: a new name, flushed to the disk, then a rename.

And lets one process at a time write into a folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock

try:
    import fcntl
except ImportError:  # Windows, where a folder cannot be locked, but a file in it can
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("assay")
LOCK = ".lock"  # the file that is locked where a folder cannot be


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
        with open(fresh, "r+b") as f:  # Windows flushes no file that is open for reading alone
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


@contextmanager
def only_writer(folder: Path) -> Iterator[bool]:
    """Hold a folder for this process while the block runs; a kill lets it go.

    Args:
        folder: An existing folder.

    Yields:
        False where another process holds it. True where none does, and on file systems that cannot
        lock. On Windows a file `.lock` in the folder is locked; it stays there.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> with only_writer(folder) as mine, only_writer(folder) as again:
        ...     print(mine, again)
        True False
    """
    with ExitStack() as held:
        mine, handle = True, None
        if fcntl is not None:
            handle = os.open(folder, os.O_RDONLY)
            held.callback(os.close, handle)
        try:
            if handle is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                held.enter_context(filelock.FileLock(folder / LOCK, blocking=False))
        except (BlockingIOError, filelock.Timeout):
            mine = False
        except OSError as why:  # network file systems may refuse
            log.info("%s cannot be locked (%s): two processes could write to it", folder, why)
        yield mine
