"""Progress: a clock where the length is unknown, a bar where it is known, one line a reading."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from assay.cli import screen

SOON = 2.0  # seconds; what takes less is not worth a line


def _progress(*columns: Any) -> Progress:
    """A display on stderr; none where stderr is no terminal, with --quiet, or in another process
    than the first.
    """
    shown = sys.stderr.isatty() and not screen.is_quiet() and os.environ.get("RANK", "0") == "0"
    return Progress(
        *columns,
        console=screen.errors(),
        transient=True,
        disable=not shown,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )


@contextmanager
def working(what: str) -> Iterator[None]:
    """A clock on stderr until the block ends; without a terminal, one line afterwards.

    Args:
        what: What is being done, e.g. "building world grammar".
    """
    began = time.monotonic()
    with _progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as shown:
        shown.add_task(what, total=None)
        yield
    took = time.monotonic() - began
    if took > SOON:
        screen.note(f"{what}: {took:.0f} s")


class Bar:
    """A progress bar on stderr, a context manager.

    Args:
        label: What moves.
        total: Steps until the end.
    """

    def __init__(self, label: str, total: int) -> None:
        self._shown = _progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._task = self._shown.add_task(label, total=total)

    def __enter__(self) -> Bar:
        self._shown.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._shown.stop()

    def at(self, done: int, total: int) -> None:
        """Move to `done` of `total` steps."""
        self._shown.update(self._task, completed=done, total=total)

    def restart(self, label: str) -> None:
        """Begin again from 0 under another label."""
        self._shown.reset(self._task, description=label)


def watched(recipe: Callable[..., Any], shown: Bar) -> Callable[..., Iterator[Any]]:
    """The same recipe; each of its steps moves the bar."""

    @functools.wraps(recipe)
    def steps(task: Any, **arguments: Any) -> Generator[Any, Any, None]:
        inner = recipe(task, **arguments)
        reply = None
        while True:
            try:
                item = inner.send(reply)
            except StopIteration:
                return
            shown.at(task.carry.next, max(task.carry.total, task.carry.next))
            reply = yield item

    return steps
