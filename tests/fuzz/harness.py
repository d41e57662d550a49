"""What a reader owes to any input: an answer or one sentence, soon, in little memory, and nothing
outside its folder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import shutil
import signal
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.data.escape import visible
from assay.errors import InputError, NotFinite, Waiting

SENTENCE = 1000  # characters of a refusal, whatever it quotes
SECONDS = 10.0  # of processor time for one input
MEMORY = 512 << 20  # bytes that the process may grow by
LOOKS = 16  # inputs between two looks at the memory, which cost as much as an input
REFUSALS = (InputError, Waiting, NotFinite)

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
FORBIDDEN = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"),
    *("socket.connect", "socket.getaddrinfo", "socket.bind", "pickle.find_class"),
)


class Broken(AssertionError):
    """A reader did not keep its promise; `where` tells one cause from another."""

    def __init__(self, what: str, where: str = ""):
        super().__init__(what)
        self.where = where or what[:80]


class TooSlow(BaseException):
    """Raised into a reader whose time is over; no `except Exception` of its own catches it."""


@dataclass(frozen=True)
class Target:
    """A reader and what it reads.

    Attributes:
        name: Its name, such as "rows of CSV".
        form: What its bytes are, by which they are damaged: see `mutations.FORMS`.
        seeds: Makes valid inputs.
        call: `call(data, folder)` reads the bytes; the folder is empty and may be written to.
        share: Its part of all inputs: 1, or less for a slow reader.
        may_raise: What it may raise beside InputError, because a caller turns it into a sentence.
    """

    name: str
    form: str
    seeds: Callable[[], list[bytes]]
    call: Callable[[bytes, Path], Any]
    share: float = 1.0
    may_raise: tuple[type[BaseException], ...] = ()


@dataclass
class _Watched:
    """What Python's audit events say of the input that is read now."""

    folder: str = ""
    on: bool = False
    found: list[str] = field(default_factory=list)


_watched = _Watched()


class _Peak:
    """The most memory that the process has held, looked at now and then."""

    def __init__(self) -> None:
        self.calls, self.most = 0, 0

    def grown(self, every: int) -> int:
        """By how many bytes it grew since the last look; 0 where that is allowed."""
        self.calls += 1
        if self.calls % every:
            return 0
        before, self.most = self.most, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        return self.most - before if before and self.most - before > MEMORY else 0


_peak = _Peak()


class _Formatted(logging.Handler):
    """Lets every log line of assay be put together, and shows none."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()


def _hear(event: str, given: tuple[Any, ...]) -> None:
    """Note a write outside the folder, a process, a connection, and a pickle."""
    if not _watched.on:
        return
    if event == "open":
        path, _, flags = given
        if isinstance(path, (str, bytes)) and isinstance(flags, int) and flags & WRITES:
            _outside(event, path)
    elif event in CHANGES:
        for path in given:
            if isinstance(path, (str, bytes)):
                _outside(event, path)
    elif event in FORBIDDEN:
        _watched.found.append(f"{event} {given!r:.200}")


def _outside(event: str, path: str | bytes) -> None:
    where = os.path.abspath(os.fsdecode(path))
    if not where.startswith((_watched.folder, "/dev/")) and "__pycache__" not in where:
        _watched.found.append(f"{event} {where!r:.200}")


sys.addaudithook(_hear)  # for good: an audit hook cannot be removed, so it has a switch


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hide the log lines of assay while the block runs."""
    log, handler = logging.getLogger("assay"), _Formatted()
    before, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before


@contextlib.contextmanager
def _watching(folder: Path, seconds: float) -> Iterator[None]:
    def over(*_: Any) -> None:
        raise TooSlow(f"not done after {seconds:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, over)
    _watched.folder, _watched.found = str(folder.resolve()), []
    _watched.on = True
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        _watched.on = False
        signal.signal(signal.SIGVTALRM, before)


def tried(
    target: Target, data: bytes, folder: Path, *, seconds: float = SECONDS, every: int = LOOKS
) -> bool:
    """Let a target read bytes, and check what it owes.

    Args:
        target: The reader.
        data: What it reads.
        folder: An empty folder; it is empty again afterwards.
        seconds: Processor time that it may take.
        every: Inputs between two looks at the memory.

    Returns:
        Whether it accepted them; False where it refused them by one sentence.

    Raises:
        Broken: It did something else.
    """
    read = True
    try:
        with _watching(folder, seconds):
            target.call(data, folder)
    except target.may_raise:
        read = False
    except REFUSALS as why:
        read = False
        if fault := unlike_a_sentence(str(why)):
            raise Broken(f"{fault}: {str(why)[:300]!r}", f"{fault} {_place(why)}") from why
    except BaseException as why:
        if isinstance(why, KeyboardInterrupt):
            raise
        said = f"{type(why).__name__}: {str(why)[:300]}"
        raise Broken(said, f"{type(why).__name__} {_place(why)}") from why
    finally:
        _emptied(folder)
    if _watched.found:
        raise Broken(_watched.found[0], _watched.found[0].partition(" ")[0])
    if grown := _peak.grown(every):
        raise Broken(f"the process grew by {grown >> 20} MiB in {every} inputs", "memory")
    return read


def warmed(target: Target, folder: Path) -> list[bytes]:
    """The seeds of a target, each read once before anything is watched, for what is imported and
    cached at the first call.
    """
    seeds = target.seeds()
    for seed in seeds:
        with contextlib.suppress(*REFUSALS, *target.may_raise):
            target.call(seed, folder)
        _emptied(folder)
    return seeds


def unlike_a_sentence(said: str) -> str:
    """Why a refusal is not one bounded line that a terminal can show; "" where it is."""
    shown = visible(said)  # as the command line prints it
    if not said.strip():
        return "an empty sentence"
    if "\n" in shown:
        return "a sentence of several lines"
    if len(said) > SENTENCE:
        return f"a sentence of more than {SENTENCE} characters"
    return ""


def _place(why: BaseException) -> str:
    """The innermost line of assay that an exception went through."""
    frames = traceback.extract_tb(why.__traceback__)
    ours = [f for f in frames if f"{os.sep}assay{os.sep}" in f.filename]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).parent.name}/{Path(last.filename).name}:{last.lineno}"


def _emptied(folder: Path) -> None:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def choice(data: bytes, n: int) -> int:
    """One of n ways to read some bytes, the same each time for the same bytes."""
    return zlib.crc32(data) % n
