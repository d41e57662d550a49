"""Lets one process at a time write into a folder; a kill lets the folder go."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.engine.owner import OWNER, lives, take, tell

try:
    import fcntl
except ImportError:  # Windows, where a folder cannot be locked, but a file in it can
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("assay")
LOCK = ".lock"  # the file that is locked where a folder cannot be
TRACES = (LOCK, OWNER)  # what holding a folder may leave in it
_WAITS = (0.02, 0.05, 0.1)  # seconds between tries of a lock


class Hold:
    """A folder that this process holds, until `release`, the end of the object, or a kill.

    Args:
        let_go: Is called once, at the release.
    """

    def __init__(self, let_go: Callable[[], None]):
        self._let_go: Callable[[], None] | None = let_go

    def release(self) -> None:
        """Let the folder go; a second call does nothing."""
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go()

    def __del__(self) -> None:
        self.release()


def hold(folder: Path) -> Hold | None:
    """Hold a folder for this process, so that no other process writes into it.

    The folder is locked, and a file in it names its owner (`engine/owner.py`). On file systems that
    cannot lock, that file is the lock.

    Args:
        folder: An existing folder.

    Returns:
        None where another process holds it.
    """
    if fcntl is None:
        import filelock

        lock = filelock.FileLock(folder / LOCK, blocking=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            return None
        return _told(folder, lock.release)
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
            log.info("%s cannot be locked (%s), so a file in it is the lock", folder, why)
            os.close(handle)
            taken = take(folder)
            return None if taken is None else Hold(taken)
        else:
            break
    return _told(folder, lambda: _unlock(handle))


def _unlock(handle: int) -> None:
    """Let a folder go in every process: a forked child holds the same handle."""
    try:
        fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def _told(folder: Path, unlock: Callable[[], None]) -> Hold:
    """A hold of a locked folder, whose owner is named while it lasts."""
    forget = tell(folder)

    def let_go() -> None:
        try:
            forget()
        finally:
            unlock()

    return Hold(let_go)


def is_held(folder: Path) -> bool | None:
    """Whether a process holds a folder.

    Args:
        folder: An existing folder.

    Returns:
        None on systems that cannot tell.

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
        log.info("%s cannot be locked (%s), so a file in it is the lock", folder, why)
        return _is_alive(folder)
    finally:
        os.close(handle)
    return False


def _is_alive(folder: Path) -> bool | None:
    """Whether the owner of a folder that cannot be locked lives; None where it cannot be seen."""
    try:
        return lives(folder)
    except OSError as why:  # a reader may not be allowed to write there
        log.info("%s: its owner cannot be seen (%s)", folder, why)
        return None


def is_fresh(folder: Path) -> bool:
    """Whether nothing but the traces of a hold lies in an existing folder.

    Args:
        folder: An existing folder.
    """
    return all(is_trace(path.name) for path in folder.iterdir())


def is_trace(name: str) -> bool:
    """Whether a file of this name is one that holding a folder leaves there; a kill may leave the
    owner's in the making.
    """
    return name in TRACES or name.startswith(f"{OWNER}.")


@contextmanager
def only_writer(folder: Path) -> Iterator[bool]:
    """Hold a folder for this process while the block runs; a kill lets it go.

    Args:
        folder: An existing folder.

    Yields:
        False where another process holds it. On Windows a file `.lock` in the folder is locked; it
        stays there.

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
