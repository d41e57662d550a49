"""Library code announces the work that it does, and a face shows it: see `stage`.

Stages nest. Without a display, in a process other than the first and in threads that the library
starts, `stage` returns one object that does nothing. Nothing here changes a number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Display(Protocol):
    """Shows stages. Its methods are called often, so they return at once."""

    def opened(self, stage: Stage) -> None: ...
    def moved(self, stage: Stage) -> None: ...
    def closed(self, stage: Stage) -> None: ...


_DISPLAY: ContextVar[Display | None] = ContextVar("display", default=None)
_CURRENT: ContextVar[Stage | None] = ContextVar("stage", default=None)


class Stage:
    """Work under way, a context manager.

    Attributes:
        name, total, unit: See `stage`.
        done: Units done so far.
        first: Units that were done before it began.
        began: When it began, by `time.monotonic`.
        parent: The stage that holds it; None for an outermost one.
    """

    def __init__(self, name: str, total: int | None, unit: str, display: Display | None):
        self.name, self.total, self.unit, self._display = name, total, unit, display
        self.done, self.first, self.began = 0, 0, time.monotonic()
        self.parent: Stage | None = None
        self._piece, self._part = 1, 0.0

    def __enter__(self) -> Stage:
        if self._display is not None:
            self.parent = _CURRENT.get()
            _CURRENT.set(self)
            self._display.opened(self)
        return self

    def __exit__(self, *why: object) -> None:
        if self._display is not None:
            inner = _CURRENT.get()
            while inner is not None and inner is not self:
                inner = inner.parent  # a generator that was given up left it open
            if inner is self:
                _CURRENT.set(self.parent)
            self._display.closed(self)

    def advance(self, n: int = 1) -> None:
        """Count n more units as done."""
        if self._display is not None:
            self.at(self.done + n)

    def at(self, done: int, total: int | None = None) -> None:
        """Say how many units are done in all, and where that has changed, of how many."""
        if self._display is not None:
            self.done, self._part = done, 0.0
            self.total = self.total if total is None else total
            self._display.moved(self)

    def begin_at(self, done: int) -> None:
        """Say that so many units were done before, so that the rate does not count them."""
        if self._display is not None:
            self.done = self.first = done

    def upcoming(self, n: int) -> None:
        """Say that the next n units are one piece of work, see `within`."""
        self._piece, self._part = n, 0.0

    def within(self, part: float) -> None:
        """Say how much of the next piece is done, from 0 to 1; it never goes back."""
        if self._display is not None and part > self._part:
            self._part = min(part, 1.0)
            self._display.moved(self)

    @property
    def reached(self) -> float:
        """Units done, with what is done of the next piece."""
        there = self.done + self._part * self._piece
        return there if self.total is None else min(there, float(self.total))


_SILENT = Stage("", None, "", None)


def stage(name: str, total: int | None = None, unit: str = "") -> Stage:
    """Announce work.

    Args:
        name: What is being done, for example "loading gpt2".
        total: Units until the end; None where it is not known.
        unit: What is counted, in the plural.

    Example:
        >>> with stage("scoring", total=2, unit="completions") as scoring:
        ...     scoring.advance(2)
    """
    display = _DISPLAY.get()
    return _SILENT if display is None else Stage(name, total, unit, display)


def over(items: Iterable[T], name: str, unit: str = "", total: int | None = None) -> Iterator[T]:
    """Iterate within a stage that moves by one after each item.

    Example:
        >>> list(over([1, 2], "counting"))
        [1, 2]
    """
    if total is None and isinstance(items, Collection):
        total = len(items)
    with stage(name, total, unit) as under_way:
        for item in items:
            yield item
            under_way.advance()


def current() -> Stage | None:
    """The innermost stage that is under way and shown; None where there is none."""
    return _CURRENT.get()


def is_shown() -> bool:
    """Whether a display shows what is announced here."""
    return _DISPLAY.get() is not None


@contextmanager
def shown_by(display: Display | None) -> Iterator[None]:
    """Let a display show what is announced within the block; None shows nothing."""
    before = _DISPLAY.get(), _CURRENT.get()
    _DISPLAY.set(display if os.environ.get("RANK", "0") == "0" else None)
    _CURRENT.set(None)
    try:
        yield
    finally:
        _DISPLAY.set(before[0])
        _CURRENT.set(before[1])
