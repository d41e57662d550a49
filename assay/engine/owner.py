"""Who writes to a folder: a small file that names the process, and says whether it lives.

Where the system can lock a folder, the lock decides and the file only tells. Where it cannot, the
file is the lock: the process that made it owns the folder until it ends, or, seen from another
machine, until it has not touched the file for `LEASE` seconds.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

log = logging.getLogger("assay")
OWNER = ".owner.json"
LEASE = 120.0  # seconds without a sign of life after which an owner elsewhere counts as dead
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux
_TRIES = 3
_TOKEN = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Owner:
    """The process that writes to a folder.

    Attributes:
        host: The machine's name.
        boot: Which start of the machine; "" where the system does not tell.
        pid: The process.
        began: When the process began: numbers of processes are used again. On Linux in seconds
            since the machine started, which no change of its clock moves.
        since: When it took the folder, in UTC.
        token: Tells two owners apart that agree in all else.
    """

    host: str
    boot: str
    pid: int
    began: float
    since: str
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


def this_process() -> Owner:
    """This process as an owner."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    pid = os.getpid()
    return Owner(platform.node(), _boot(), pid, _began(pid), now, uuid.uuid4().hex)


@cache
def _boot() -> str:
    return _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else ""


def _began(pid: int) -> float:
    """When a process began.

    psutil counts from a start of the machine that it takes from the wall clock. A clock that is
    set, and already one that is corrected by a second, would make a living owner look dead.

    Raises:
        ProcessLookupError: No such process runs.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except FileNotFoundError as why:
            raise ProcessLookupError(pid) from why
        state, *fields = stat.rpartition(b")")[2].split()  # the name before it may hold anything
        if state in (b"Z", b"X"):  # it has ended, and nobody has asked how
            raise ProcessLookupError(pid)
        return int(fields[18]) / os.sysconf("SC_CLK_TCK")
    import psutil  # type: ignore[import-untyped]  # here, because help asks no process

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error as why:
        raise ProcessLookupError(pid) from why


def owner(folder: Path) -> Owner | None:
    """The process that a folder's owner file names; None where no file says it.

    Args:
        folder: The folder.
    """
    return _read(folder / OWNER)


def held_by(folder: Path) -> str:
    """Who holds a folder, as the subject of a sentence.

    Example:
        >>> held_by(getfixture("tmp_path"))
        'another process'
    """
    return named(owner(folder))


def named(found: Owner | None) -> str:
    """An owner as the subject of a sentence, also one that no file names."""
    return "another process" if found is None else str(found)


def _read(path: Path) -> Owner | None:
    try:
        return parsed(path.read_bytes())
    except OSError:  # not there
        return None


def parsed(line: bytes) -> Owner | None:
    """An owner as JSON has it; None where a kill has torn the text, or where others wrote it: its
    token becomes part of a file's name.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.keys() != Owner.__annotations__.keys():
        return None
    texts = all(type(found[k]) is str for k in ("host", "boot", "since", "token"))
    number = type(found["pid"]) is int and 0 < found["pid"] < 1 << 31
    if not (texts and number and type(found["began"]) in (int, float)):
        return None
    return Owner(**found) if _TOKEN.fullmatch(found["token"]) else None


def tell(folder: Path) -> Callable[[], None]:
    """Name this process as the owner of a folder that it has locked.

    Args:
        folder: The folder.

    Returns:
        A function that takes the file away again.
    """
    mine = this_process()
    try:
        if (folder / OWNER).is_symlink():  # of a folder that others sent: it may lead anywhere
            (folder / OWNER).unlink()
        (folder / OWNER).write_text(json.dumps(asdict(mine)), encoding="utf-8")
    except OSError as why:  # the lock holds without it; what is written next says what is wrong
        log.info("%s cannot be written: %s", folder / OWNER, why)
    return lambda: _forget(folder, mine)


def _forget(folder: Path, mine: Owner) -> None:
    """Delete the owner file, if it is this owner's."""
    if owner(folder) == mine:
        (folder / OWNER).unlink(missing_ok=True)


def lives(folder: Path) -> bool:
    """Whether the process that a folder's owner file names is alive.

    Args:
        folder: The folder.
    """
    path, found = folder / OWNER, owner(folder)
    if found is not None and found.host == platform.node():
        return found.boot == _boot() and _is_running(found)
    return path.exists() and _age(folder, path) < LEASE


def _is_running(found: Owner) -> bool:
    try:
        return abs(_began(found.pid) - found.began) < 1
    except ProcessLookupError:
        return False


def _age(folder: Path, path: Path) -> float:
    """The seconds since a file of a folder was touched; 0 if it has just gone.

    The clock is the one that dates the folder's files: another machine's may differ. A file of the
    future was written before that clock was set back: it is touched, so that its lease ends.
    """
    probe = folder / f"{OWNER}.{uuid.uuid4().hex}"
    probe.touch()
    try:
        age = probe.stat().st_mtime - path.stat().st_mtime
        if age < 0:
            os.utime(path)
        return max(0.0, age)
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def take(folder: Path) -> Callable[[], None] | None:
    """Become the owner of a folder that cannot be locked.

    Args:
        folder: The folder.

    Returns:
        A function that lets the folder go; None where its owner lives, or another process is just
        taking the folder over.
    """
    path, mine = folder / OWNER, this_process()
    for _ in range(_TRIES):
        try:
            with open(path, "x", encoding="utf-8") as f:
                f.write(json.dumps(asdict(mine)))
        except FileExistsError:
            dead = owner(folder)
            if lives(folder) or not _taken_over(folder, dead, mine):
                return None
        if owner(folder) == mine:
            return _kept_alive(folder, mine)
    return None


def _taken_over(folder: Path, dead: Owner | None, mine: Owner) -> bool:
    """Put this owner in a dead one's place.

    The claim is a file that only one process can make. The process that has it looks again: one
    that was faster may live in the dead one's place.

    Returns:
        False where another process has the claim.
    """
    claim = folder / f"{OWNER}.{'torn' if dead is None else dead.token}"
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        if _age(folder, claim) > LEASE:
            claim.unlink(missing_ok=True)  # a kill left it
        return False
    try:
        if owner(folder) == dead:
            fresh = folder / f"{OWNER}.{mine.token}"
            fresh.write_text(json.dumps(asdict(mine)), encoding="utf-8")
            os.replace(fresh, folder / OWNER)
    finally:
        claim.unlink(missing_ok=True)
    return True


def _kept_alive(folder: Path, mine: Owner) -> Callable[[], None]:
    """Touch the owner file again and again, until it is let go."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(LEASE / 4):
            try:
                os.utime(folder / OWNER)
            except OSError as why:
                log.warning("%s cannot be touched: %s", folder / OWNER, why)

    threading.Thread(target=beat, name="owner", daemon=True).start()

    def let_go() -> None:
        ended.set()
        _forget(folder, mine)

    return let_go
