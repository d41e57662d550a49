"""What the system refuses to write, as one sentence: which file, how much, what to do.

Python raises an `OSError`, safetensors a `SafetensorError` and tokenizers a bare `Exception` for
the same thing; the last two end in "(os error N)".
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.errors import InputError, NotWritten

try:
    import resource
except ImportError:  # Windows has no limits of this kind
    resource = None  # type: ignore[assignment]

_FULL = "make room there, or give another place"
_DENIED = "change its permissions, or give another place"
_LOCKED = "give a place that can be written to"
_FILES = "close files, or raise the limit of open files (ulimit -n)"
CURES = {  # by error number; other errors of the system are not about a place to write to
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "make room in your quota, or give another place",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or give another place",
    errno.EROFS: _LOCKED,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EIO: "check the disk, or give another place",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "repair the links, or give another place",
}
ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # these are about bytes
MENDED = (
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)  # a place that the user chose wrongly
_NUMBER = re.compile(r"\(os error (\d+)\)")


def error_number(why: BaseException) -> int:
    """The system's error number behind an exception.

    Args:
        why: What was raised.

    Returns:
        0 where the system refused nothing.

    Example:
        >>> error_number(Exception("No space left on device (os error 28)"))
        28
    """
    if isinstance(why, OSError):
        return why.errno or 0
    by_rust = type(why) is Exception or type(why).__name__ == "SafetensorError"
    found = _NUMBER.search(str(why)) if by_rust else None
    if found is None and by_rust and "No space left on device" in str(why):
        return errno.ENOSPC
    return int(found.group(1)) if found else 0


def not_written(
    why: BaseException, path: Path | str | None = None, needed: int | None = None
) -> NotWritten | None:
    """The sentence for what the system refused to write.

    Args:
        why: What was raised.
        path: The file or folder that was being written; the one that the exception names where it
            names one.
        needed: The bytes that the file was to have, where they are known.

    Returns:
        The error to raise; `why` itself where it is one. None where `why` is about something else.

    Example:
        >>> full = OSError(errno.EROFS, os.strerror(errno.EROFS), "a/run.json")
        >>> print(not_written(full))
        a/run.json: Read-only file system; give a place that can be written to
    """
    if isinstance(why, NotWritten):
        return why
    number = 0 if isinstance(why, InputError) else error_number(why)
    if number not in CURES:
        return None
    own = getattr(why, "filename", None)
    place = path if path is not None else own if isinstance(own, (str, Path)) else None
    room = _room(number, place, needed)
    said = f"{os.strerror(number)}{room}; {CURES[number]}"
    error = NotWritten(said if place is None else f"{_meant(place)}: {said}")
    error.errno, error.filename = number, None if place is None else str(place)
    error.__cause__ = why
    return error


def _meant(place: Path | str) -> str:
    """The name that was asked for, where a file is written beside it first."""
    from assay.engine.leftovers import meant  # here, because help needs no names of files

    return meant(str(place))


@contextmanager
def writing_to(path: Path | str, needed: int | None = None) -> Iterator[None]:
    """Say what the system refuses while the block writes a file or a folder.

    Args:
        path: What is written.
        needed: Its bytes, where they are known.

    Raises:
        NotWritten: The disk is full, a limit is reached, or the place cannot be written to.

    Example:
        >>> with writing_to("runs/a", 2_000_000):
        ...     raise OSError(errno.EROFS, "Read-only file system")
        Traceback (most recent call last):
        assay.errors.NotWritten: runs/a: Read-only file system; give a place that can be written to
    """
    try:
        yield
    except Exception as why:
        if _is_no_name(why):
            raise InputError(
                f"{str(path)!r:.200} cannot be the name of a file; give another"
            ) from why
        refused = not_written(why, path, needed)
        if refused is None or refused is why:
            raise
        raise refused from why


def must_be_utf8(folder: Path) -> None:
    """Check the name of a folder that weights will be written to: the system takes any bytes, and
    safetensors reads no file under a name that is not UTF-8.

    Args:
        folder: The folder. It need not exist.

    Raises:
        InputError: Its name is not UTF-8.
    """
    try:
        str(folder).encode("utf-8")
    except UnicodeEncodeError as why:
        raise InputError(
            f"{folder} has bytes in its name that are not UTF-8, and weights could not be read "
            "back from there; give another --out"
        ) from why


def _is_no_name(why: Exception) -> bool:
    """Whether a name holds a character that the system has no file names with."""
    if isinstance(why, UnicodeEncodeError):
        return "surrogates not allowed" in str(why)
    return type(why) is ValueError and "embedded null" in str(why)


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Say what the system refuses while the block fills a folder, and leave no half of one.

    Args:
        path: The folder. Where it is new or empty and the block raises, what lies in it is deleted,
            so that the same command can be given again.

    Raises:
        NotWritten: See `writing_to`.
    """
    there = path.exists()
    mine = not there or (path.is_dir() and not any(path.iterdir()))
    try:
        with writing_to(path):
            yield
    except BaseException:
        if mine:
            _empty(path, there)
        raise


def _empty(folder: Path, stays: bool) -> None:
    """Delete what a block has written; a folder that was there before stays."""
    if not stays:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _room(number: int, place: Path | str | None, needed: int | None) -> str:
    """How much was needed, and how much there is, as an addition to a sentence."""
    if number not in ROOM:
        return ""
    parts = [] if needed is None else [f"{_bytes(needed)} are needed"]
    if number == errno.EFBIG and resource is not None:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        parts += [] if limit < 0 else [f"a file may have {_bytes(limit)}"]
    free = None if place is None else free_bytes(Path(place))
    parts += [] if free is None else [f"{_bytes(free)} are free there"]
    return f" ({', '.join(parts)})" if parts else ""


def free_bytes(path: Path) -> int | None:
    """The free bytes of the disk that a path is or will be on; None where it cannot be asked.

    Args:
        path: A file or folder; it need not exist.
    """
    for there in (path, *path.absolute().parents):
        try:
            return shutil.disk_usage(there).free
        except OSError:  # it does not exist yet: its parent is on the same disk
            continue
    return None


def _bytes(n: int) -> str:
    """A number of bytes for a person, with two or three digits."""
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= of:
            return f"{n / of:,.1f} {unit}"
    return f"{n} bytes"
