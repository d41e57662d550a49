"""Writes a file whole or not at all: a fresh name, flushed to disk, then a rename that is flushed
too.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.engine.leftovers import FILE, forget, fresh_path, is_fresh
from assay.engine.os_errors import writing_to
from assay.errors import InputError

log = logging.getLogger("assay")
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS)


@contextmanager
def replacing(path: Path, needed: int | None = None) -> Iterator[Path]:
    """Give a fresh path to write to; it takes the place of `path` when the block ends.

    A process killed at any moment leaves the old file or the new one, never half of either. Where
    the block raises, the fresh file is deleted and the old one stays.

    Args:
        path: The file to replace; it need not exist. Its folder must.
        needed: The bytes that it will have, where they are known.

    Yields:
        A path in the same folder.

    Raises:
        NotWritten: The disk is full, a limit is reached, or the folder cannot be written to.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> with replacing(folder / "a.txt") as fresh:
        ...     _ = fresh.write_text("new")
        >>> (folder / "a.txt").read_text()
        'new'
    """
    forget(path)
    with fresh_path(path, FILE) as fresh:
        try:
            with writing_to(path, needed):
                yield fresh
                flush(fresh)
                os.replace(fresh, path)
                sync_folder(path.parent)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


@contextmanager
def creating(path: Path, needed: int | None = None) -> Iterator[Path]:
    """Give a fresh path to write to; it takes the name `path` when the block ends.

    Unlike `replacing`, it never takes the place of another file, also of one that appears while the
    block runs.

    Args:
        path: A name that is free. Its folder is made.
        needed: The bytes that the file will have, where they are known.

    Yields:
        A path in the same folder, which is gone in the end.

    Raises:
        InputError: Something has the name.
        NotWritten: See `replacing`.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> with creating(folder / "new" / "a.txt") as fresh:
        ...     _ = fresh.write_text("whole")
        >>> [p.name for p in (folder / "new").iterdir()]
        ['a.txt']
    """
    if not is_free(path):
        raise _taken(path)
    with writing_to(path, needed), fresh_path(path, FILE) as fresh:
        make_folder(path.parent)
        try:
            yield fresh
            flush(fresh)
            _claim(path, fresh)
        finally:
            fresh.unlink(missing_ok=True)
        sync_folder(path.parent)


def is_free(path: Path) -> bool:
    """Whether a new file can have a name. What a killed process left of it is deleted.

    Args:
        path: The name.

    Example:
        >>> is_free(getfixture("tmp_path") / "a.txt")
        True
    """
    with writing_to(path):
        forget(path)
        return not os.path.lexists(path)


def is_free_folder(path: Path) -> bool:
    """Whether a new folder can have a name: nothing has it, or a folder with nothing in it.

    What a killed process left of it is deleted.

    Args:
        path: The name.
    """
    with writing_to(path):
        forget(path)
    if not os.path.lexists(path):
        return True
    return path.is_dir() and all(is_fresh(p) for p in path.iterdir())


def make_folder(path: Path) -> list[Path]:
    """Make a folder and the folders above it, and flush their names to disk.

    Args:
        path: The folder. It may exist.

    Returns:
        The folders that were made, the innermost first.
    """
    new = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in new:
        sync_folder(folder.parent)
    return new


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk: without it a loss of power may undo a rename.

    Args:
        folder: The folder. Nothing happens on systems that cannot flush one.

    Raises:
        OSError: The disk refuses.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder; nor may one be read that is written blindly
        log.debug("the names in %s cannot be flushed to disk", folder)
        return
    try:
        os.fsync(handle)
    except OSError as why:
        if why.errno not in _CANNOT_SYNC:
            raise
        log.debug("the names in %s cannot be flushed to disk: %s", folder, why)
    finally:
        os.close(handle)


def flush(path: Path) -> None:
    """Flush a file's content to disk.

    Args:
        path: The file.
    """
    # Windows flushes no file that is open for reading alone, and a file may be read-only
    with open(path, "r+b" if os.name == "nt" else "rb") as f:
        os.fsync(f.fileno())


def _claim(path: Path, fresh: Path) -> None:
    """Give a fresh file its name, unless something has it."""
    try:
        os.link(fresh, path)  # unlike a rename, it fails if the name is taken
        return
    except FileExistsError as why:
        raise _taken(path) from why
    except OSError:  # FAT and many network disks have no hard links
        log.debug("%s is on a disk without hard links", path)
    try:
        open(path, "xb").close()
    except FileExistsError as why:
        raise _taken(path) from why
    os.replace(fresh, path)


def _taken(path: Path) -> InputError:
    return InputError(f"{path} exists and is never overwritten; give another file")


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
