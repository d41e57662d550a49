"""Lets one process at a time write into a folder; a kill lets the folder go."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

try:
    import fcntl
except ImportError:  # Windows, where a folder cannot be locked, but a file in it can
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("assay")
LOCK = ".lock"  # the file that is locked where a folder cannot be
_WAITS = (0.02, 0.05, 0.1)  # seconds between tries of a lock


class Hold:
    """A folder that this process holds, until `release`, the end of the object, or a kill.

    Args:
        handle: The open folder; None where folders cannot be locked.
        lock: The locked file where a folder cannot be locked.
    """

    def __init__(self, handle: int | None, lock: filelock.BaseFileLock | None = None):
        self._handle, self._lock = handle, lock

    def release(self) -> None:
        """Let the folder go; a second call does nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __del__(self) -> None:
        self.release()


def hold(folder: Path) -> Hold | None:
    """Hold a folder for this process, so that no other process writes into it.

    Args:
        folder: An existing folder.

    Returns:
        None where another process holds it. On file systems that cannot lock a folder, something
        that holds nothing.
    """
    if fcntl is None:
        lock = filelock.FileLock(folder / LOCK, blocking=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            return None
        return Hold(None, lock)
    handle = os.open(folder, os.O_RDONLY)
    for wait in (*_WAITS, None):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                os.close(handle)
                return None
            time.sleep(wait)  # `is_held` of another process holds it for an instant
        except OSError as why:  # network file systems may refuse
            log.info("%s cannot be locked (%s): two processes could write to it", folder, why)
            break
        else:
            break
    return Hold(handle)


def is_held(folder: Path) -> bool | None:
    """Whether a process holds a folder.

    Args:
        folder: An existing folder.

    Returns:
        None on systems that cannot lock a folder.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> with only_writer(folder):
        ...     print(is_held(folder))
        True
        >>> is_held(folder)
        False
    """
    if fcntl is None:
        held = hold(folder)
        if held is not None:
            held.release()
        return held is None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as why:  # network file systems may refuse
        log.info("%s cannot be locked (%s), so its writer cannot be seen", folder, why)
        return None
    finally:
        os.close(handle)
    return False


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
    held = hold(folder)
    try:
        yield held is not None
    finally:
        if held is not None:
            held.release()
