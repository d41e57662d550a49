"""Writes a file or a folder whole or not at all: a new name, flushed to the disk, then a rename.

And lets one process at a time write into a folder.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import psutil  # type: ignore[import-untyped]

from assay.engine.os_errors import writing_to
from assay.errors import InputError

try:
    import fcntl
except ImportError:  # Windows, where a folder cannot be locked, but a file in it can
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("assay")
LOCK = ".lock"  # the file that is locked where a folder cannot be
_FRESH = re.compile(r"\.(\d+)\.new$")  # how the name of a fresh file ends
_WAITS = (0.02, 0.05, 0.1)  # seconds between tries of a lock


@contextmanager
def replacing(path: Path, needed: int | None = None) -> Iterator[Path]:
    """Give a fresh path to write to; it takes the place of `path` when the block ends.

    A process killed at any moment leaves the old file or the new one, never half of either. Where
    the block raises, the fresh file is deleted and the old one stays.

    Args:
        path: The file to replace; it need not exist. Its folder must.
        needed: The bytes that it will have, where they are known.

    Yields:
        A path in the same folder, whose name holds this process's id.

    Raises:
        NotWritten: The disk is full, a limit is reached, or the folder cannot be written to.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> with replacing(folder / "a.txt") as fresh:
        ...     _ = fresh.write_text("new")
        >>> (folder / "a.txt").read_text()
        'new'
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with writing_to(path, needed):
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

    Raises:
        NotWritten: See `replacing`.
    """
    with replacing(path, len(data)) as fresh:
        fresh.write_bytes(data)


def forget_fresh(folder: Path) -> None:
    """Delete the fresh files in a folder that a killed process has left.

    Args:
        folder: The folder, which this process holds. Files of processes that live stay.
    """
    for path in folder.rglob("*.new"):
        made = _FRESH.search(path.name)
        if made and not psutil.pid_exists(int(made.group(1))):
            path.unlink(missing_ok=True)


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


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Give a fresh folder to write to; its content stands in `out` if the block ends well.

    So a folder of that name is whole, and has passed what the block checked. The fresh folder lies
    beside `out`, or within it where that exists: it may be mounted from another disk.

    Args:
        out: A name that is free, or an empty folder.

    Yields:
        The fresh folder, which is gone in the end.

    Raises:
        InputError: Another process wrote `out` while the block ran; what it wrote stays.

    Example:
        >>> out = getfixture("tmp_path") / "runs" / "model"
        >>> with whole_folder(out) as fresh:
        ...     _ = (fresh / "config.json").write_text("{}")
        >>> [p.name for p in out.parent.iterdir()], [p.name for p in out.iterdir()]
        (['model'], ['config.json'])
    """
    whole = out if out.name not in ("", "..") else out.absolute()
    there = whole.exists()
    part = f"{whole.name}.part-{os.getpid()}"
    fresh = whole / part if there else whole.with_name(part)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if any(".part-" not in p.name for p in whole.glob("*")):
            raise InputError(
                f"{out} was written by another process in the meantime, and is never overwritten; "
                "give another place"
            )
        if there:
            for path in sorted(fresh.iterdir()):
                path.rename(whole / path.name)
        else:
            fresh.rename(whole)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
