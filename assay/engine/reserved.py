"""Lets one process at a time make an output: a file or folder that need not exist yet.

A hidden file beside the output is locked and says who makes it. A kill lets the lock go; the file
stays, and the next process takes it over, together with what the killed one had made on the way.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock

from assay.engine.atomic import is_free_folder, make_folder
from assay.engine.os_errors import writing_to
from assay.engine.owner import Owner, named, parsed, this_process
from assay.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("assay")
_MOST = 1_000_000  # bytes of a hidden file that are read


class Reserved:
    """An output that this process alone makes.

    Args:
        file: The locked file's descriptor; None where it cannot be written.
        path: The output.
        further: Other files that are made on the way, before the output is whole.
    """

    def __init__(self, file: int | None, path: Path, further: Sequence[Path]):
        self._file, self._path, self._further = file, path, further
        self._lines: list[dict[str, Any]] = []
        if file is not None:
            self._withdraw(_read(file))
            os.ftruncate(file, 0)
        self._write(asdict(this_process()))

    def making(self, path: Path, fresh: Path) -> None:
        """Note a further file before it takes its name.

        If the process is killed before the output is whole, the next start deletes that file
        again, unless its content has changed.

        Args:
            path: One of the further files.
            fresh: The whole file under its fresh name.
        """
        self._write({"path": os.path.abspath(path), "sha256": _digest(fresh)})

    def withdraw(self) -> None:
        """Delete the further files that were made, unless the output itself was made, too."""
        self._withdraw(self._lines)

    def _withdraw(self, lines: Sequence[Mapping[str, Any]]) -> None:
        if not self._further or not is_free_folder(self._path):
            return  # an end between the output and the hidden file's: all of it is whole
        for path in self._further:
            name = os.path.abspath(path)
            digests = [line.get("sha256") for line in lines if line.get("path") == name]
            if digests and path.is_file() and _digest(path) in digests:
                log.info("%s belongs to an output that was not finished, and is deleted", path)
                path.unlink()

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.append(line)
        if self._file is not None:
            os.pwrite(self._file, json.dumps(line).encode() + b"\n", os.fstat(self._file).st_size)
            os.fsync(self._file)


@contextmanager
def reserving(
    path: Path, *further: Path, elsewhere: str = "give another place"
) -> Iterator[Reserved]:
    """Let no other process make an output while the block runs.

    Args:
        path: The file or folder; it need not exist. The folder above it is made.
        further: Other files that are made on the way, before the output is whole.
        elsewhere: What can be done but wait, for the message.

    Yields:
        The reservation, which can be told of further files.

    Raises:
        InputError: Another process has it; the message says which, on what machine and since when.
        NotWritten: The system refuses the hidden file.

    Example:
        >>> out = getfixture("tmp_path") / "model"
        >>> with reserving(out):
        ...     try:
        ...         reserving(out).__enter__()
        ...     except InputError as why:
        ...         print(str(why).partition(" on ")[0].startswith(f"{out} is being written by"))
        True
    """
    with writing_to(path):
        lock = _lock_of(path, elsewhere)
        folders = make_folder(lock.parent)
    if fcntl is None:
        with _by_filelock(lock, path, further, elsewhere) as mine:
            yield mine
        return
    with writing_to(path):
        file = _locked(lock, path, elsewhere)
    try:
        with writing_to(path):
            mine = Reserved(file, path, further)
        try:
            yield mine
        except BaseException:
            mine.withdraw()
            raise
    finally:
        _let_go(lock, file)
        _remove_empty(folders)


def _let_go(lock: Path, file: int) -> None:
    """Delete the hidden file while it is still locked, so that nobody takes it in between."""
    try:
        lock.unlink(missing_ok=True)
    except OSError as why:  # the output is what counts; the next process takes the file over
        log.info("%s cannot be deleted: %s", lock, why)
    finally:
        os.close(file)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Delete folders that were made for an output that was not."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # something is in it
            return


def _lock_of(path: Path, elsewhere: str) -> Path:
    whole = path if path.name not in ("", "..") else path.resolve()
    name = whole.name
    if not name:
        raise InputError(f"{path} is no place to write to: {elsewhere}")
    while len(os.fsencode(name)) > 240:  # file systems allow 255 bytes
        name = name[:-1]
    return whole.with_name(f".{name}.lock")


def _locked(lock: Path, path: Path, elsewhere: str) -> int:
    """Open and lock the hidden file."""
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            first = os.pread(file, _MOST, 0).partition(b"\n")[0]
            os.close(file)
            raise InputError(_told(path, parsed(first), elsewhere)) from None
        except OSError as why:  # network file systems may refuse
            log.info("%s cannot be locked (%s): two processes could write %s", lock, why, path)
            return file
        if _is_at(file, lock):
            return file
        os.close(file)  # its owner deleted it in between


def _is_at(file: int, lock: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(lock))
    except FileNotFoundError:
        return False


@contextmanager
def _by_filelock(
    lock: Path, path: Path, further: Sequence[Path], elsewhere: str
) -> Iterator[Reserved]:
    """The same where a lock keeps others from reading the file: the owner is not told."""
    held = filelock.FileLock(lock, blocking=False)
    try:
        held.acquire()
    except filelock.Timeout:
        raise InputError(_told(path, None, elsewhere)) from None
    mine = Reserved(None, path, further)
    try:
        yield mine
    except BaseException:
        mine.withdraw()
        raise
    finally:
        held.release()


def _told(path: Path, found: Owner | None, elsewhere: str) -> str:
    return f"{path} is being written by {named(found)}: wait until it has ended, or {elsewhere}"


def _read(file: int) -> list[dict[str, Any]]:
    """The lines of the file; a kill may have torn the last one."""
    found = []
    for line in os.pread(file, _MOST, 0).split(b"\n")[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [line for line in found if isinstance(line, dict)]


def _digest(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
