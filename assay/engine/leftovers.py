"""Names of files and folders in the making, and how to find those that a killed process has left.

Such a name ends in the process id, four digits of the machine's name, and six random ones, so that
no two processes, threads or machines that share a disk ever take the same. Only names of exactly
this form are ever deleted: `model.part-2` or `notes.2024.new` may be a user's.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil  # type: ignore[import-untyped]

log = logging.getLogger("assay")
FILE, FOLDER = "new", "part"  # what the name of a fresh file or folder says of it
MOVING = ".moving"  # in a fresh folder: which of its entries are on their way to their place
_OF_ANOTHER = 24 * 3600.0  # seconds until another machine's fresh file is taken for a leftover
_LONGEST = 200  # bytes of a name that are kept: file systems allow 255
_FRESH = re.compile(
    r"\.(?P<pid>\d+)-(?P<host>[0-9a-f]{4})-[0-9a-f]{6}\.new"
    r"|\.part-(?P<folder_pid>\d+)-(?P<folder_host>[0-9a-f]{4})-[0-9a-f]{6}"
)
_mine = set[str]()  # fresh paths of this process


@contextmanager
def fresh_path(path: Path, kind: str) -> Iterator[Path]:
    """Give a name beside a path that nothing else has, which counts as in use within the block.

    Args:
        path: The file or folder to be made.
        kind: `FILE` or `FOLDER`.

    Yields:
        The fresh path. Nothing is made there.
    """
    who = f"{os.getpid()}-{_host()}-{secrets.token_hex(3)}"
    fresh = path.with_name(_short(path.name) + (f".{who}.new" if kind == FILE else f".part-{who}"))
    _mine.add(os.path.abspath(fresh))
    try:
        yield fresh
    finally:
        _mine.discard(os.path.abspath(fresh))


def is_fresh(path: Path) -> bool:
    """Whether a name is one of `fresh_path`, of whatever process."""
    return _parsed(path.name) is not None


def meant(path: str) -> str:
    """A path as a person gave it, without what the names of fresh files and folders add.

    Args:
        path: A path; any of its parts may be fresh.

    Example:
        >>> meant("reward.part-31345-b830-2d0186/fit.json"), meant("x.html.6176-b830-49eb3e.new")
        ('reward/fit.json', 'x.html')
    """
    return os.sep.join(
        name if (found := _fresh_end(name)) is None else name[: found.start()]
        for name in path.split(os.sep)
    )


def is_leftover(path: Path) -> bool:
    """Whether a killed process left a fresh file or folder.

    Args:
        path: A file or folder that exists.

    Returns:
        False for other names, and where the process may still write. A process of another machine
        cannot be seen from here: what it has not touched for a day is a leftover.
    """
    found = _parsed(path.name)
    if found is None or os.path.abspath(path) in _mine:
        return False
    _, pid, host = found
    if host != _host():
        try:
            return _age(path) > _OF_ANOTHER
        except OSError:  # gone meanwhile, or nothing can be written there
            return False
    # this process's own number: a process before this one had it
    return pid == os.getpid() or not psutil.pid_exists(pid)


def _age(path: Path) -> float:
    """The seconds since something was touched, by the clock that dates the files of its folder:
    this machine's may be wrong, and what another one is making must not be deleted for that.
    """
    with fresh_path(path, FILE) as probe:
        probe.touch()
        try:
            return probe.stat().st_mtime - path.lstat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


def forget(path: Path) -> None:
    """Delete what killed processes left while they made this file or folder.

    Args:
        path: The file or folder; it need not exist.
    """
    own = _short(path.name)
    for folder in (path.parent, path):
        for name in _names(folder):
            found = _parsed(name)
            if found is not None and found[0] == own and is_leftover(folder / name):
                delete(folder / name)
                if folder == path.parent and path.is_file() and path.stat().st_size == 0:
                    path.unlink()  # a name that was claimed on a disk without hard links


def forget_below(folder: Path) -> None:
    """Delete every fresh file and folder within a folder that a killed process has left.

    Args:
        folder: The folder. What processes that live are making stays.
    """
    for path in sorted(folder.rglob("*")):
        if is_leftover(path):
            delete(path)


def delete(path: Path) -> None:
    """Delete a fresh file or folder, and take back what was moved out of it."""
    log.info("%s was left by a process that has ended, and is deleted", path)
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    moving, found = path / MOVING, _parsed(path.name)
    # a folder that others sent may hold such a file: only `whole_folder`'s own place is cleared,
    # of names within it
    if moving.is_file() and found is not None and found[0] == _short(path.parent.name):
        for name in moving.read_text(encoding="utf-8", errors="replace").split("\0"):
            within = name not in ("", "..") and Path(name).name == name
            if within and not os.path.lexists(path / name):
                _remove(path.parent / name)
    shutil.rmtree(path, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _fresh_end(name: str) -> re.Match[str] | None:
    """What makes a name a fresh one."""
    at = max(name.rfind(".part-"), name.rfind(".", 0, -4) if name.endswith(".new") else -1)
    return _FRESH.fullmatch(name, at) if at >= 0 else None


def _parsed(name: str) -> tuple[str, int, str] | None:
    """What a fresh name says: (what is being made, the process, the machine)."""
    found = _fresh_end(name)
    if found is None:
        return None
    pid, host = found["pid"] or found["folder_pid"], found["host"] or found["folder_host"]
    return name[: found.start()], int(pid), host


@cache
def _host() -> str:
    """Four digits of the machine's name, and of the space in which its process ids are unique."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # two containers may share a name and a disk
    except OSError:  # not Linux
        space = ""
    return hashlib.blake2b(f"{platform.node()} {space}".encode(), digest_size=2).hexdigest()


def _short(name: str) -> str:
    """The beginning of a name, so that the end of a fresh name fits."""
    while len(os.fsencode(name)) > _LONGEST:
        name = name[:-1]
    return name


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # missing, a file, or not to be read
        return []
