"""Writes a file or a folder whole or not at all: a fresh name, flushed to disk, then a rename."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from assay.engine.os_errors import writing_to
from assay.errors import InputError

log = logging.getLogger("assay")
_FRESH = re.compile(r"\.(\d+)\.new$")  # how the name of a fresh file ends


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
    fresh = _fresh(path)
    try:
        with writing_to(path, needed):
            yield fresh
            _flush(fresh)
            os.replace(fresh, path)
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
    if os.path.lexists(path):
        raise _taken(path)
    fresh = _fresh(path)
    with writing_to(path, needed):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield fresh
            _flush(fresh)
            _claim(path, fresh)
        finally:
            fresh.unlink(missing_ok=True)


def _fresh(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.new")


def _flush(path: Path) -> None:
    with open(path, "r+b") as f:  # Windows flushes no file that is open for reading alone
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


def forget_fresh(folder: Path) -> None:
    """Delete the fresh files in a folder that a killed process has left.

    Args:
        folder: The folder, which this process holds. Files of processes that live stay.
    """
    for path in folder.rglob("*.new"):
        made = _FRESH.search(path.name)
        if made and not psutil.pid_exists(int(made.group(1))):
            path.unlink(missing_ok=True)


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
