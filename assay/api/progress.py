"""What a person sees of work under way: a live area on a terminal, or one in a notebook.

`shown()` finds out where it is. Each stage has a line with its bar, rate and time left. A line is
shown once its stage has taken a moment, so that fast stages do not flicker.
"""

from __future__ import annotations

import html
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from assay.engine import progress
from assay.engine.clean_stream import CleanStream, clean, raw
from assay.engine.progress import Stage
from assay.safe_text import visible

MOMENT = 0.4  # seconds until a stage has its line


class Stack:
    """The stages that are open, outermost first; a display that draws nothing by itself."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def opened(self, stage: Stage) -> None:
        """See Display."""
        self.stages.append(stage)

    def moved(self, stage: Stage) -> None:
        """See Display; the picture is drawn by the clock."""

    def closed(self, stage: Stage) -> None:
        """See Display; what is within it is closed too."""
        if stage in self.stages:
            del self.stages[self.stages.index(stage) :]

    def lines(self) -> list[Line]:
        """A line for the outermost stage, and one for the innermost that has taken a moment."""
        now = time.monotonic()
        there = [s for s in list(self.stages) if now - s.began >= MOMENT]
        runs = [i for i, s in enumerate(there) if s.unit == "steps"]
        shown = {0, *runs[:1], len(there) - 1} if there else set()
        return [Line(there[i], there, now) for i in sorted(shown)]


class Line:
    """One stage in words.

    Args:
        stage: The stage.
        among: The stages that are open; the name says which of them hold this one.
        now: The time, by `time.monotonic`.

    Attributes:
        name: What is being done, and within what.
        short: What is being done.
        total: Units until the end; None where it is not known.
        reached: Units that are done.
        counts: What was counted, the rate and the time left.
    """

    def __init__(self, stage: Stage, among: list[Stage], now: float):
        at = among.index(stage)
        runs = max((i for i, s in enumerate(among) if s.unit == "steps"), default=0)
        within = [s.name for s in among[min(runs + 1, at) : at + 1]]
        self.name, self.short = visible(" › ".join(within[-2:])), visible(stage.name)
        self.total, self.reached = stage.total, stage.reached
        seconds = now - stage.began
        parts = [f"{stage.done:,}/{stage.total:,} {stage.unit}"] if stage.total else []
        if not stage.total and stage.done:
            parts = [f"{stage.done:,} {stage.unit}"]
        rate = (self.reached - stage.first) / max(seconds, 1e-9)
        if rate and stage.unit:
            parts.append(speed(rate, stage.unit))
        if rate and stage.total:
            parts.append(f"{clock((stage.total - self.reached) / rate)} left")
        else:
            parts.append(clock(seconds))
        self.counts = "  ".join(parts)


def speed(rate: float, unit: str) -> str:
    """A rate in words, such as `12 tokens/s` or `3.1 s a step`.

    Example:
        >>> speed(0.25, "steps"), speed(31.4, "tokens")
        ('4.0 s a step', '31 tokens/s')
    """
    if rate < 1:
        return f"{1 / rate:.1f} s a {unit.removesuffix('es') if unit == 'passes' else unit[:-1]}"
    return f"{rate:.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"


def clock(seconds: float) -> str:
    """Seconds as a clock shows them.

    Example:
        >>> clock(75), clock(4000)
        ('1:15', '1:06:40')
    """
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def picture(stack: Stack, width: int) -> Any:
    """The lines for rich, in columns that do not move.

    Args:
        stack: The stages.
        width: Of the terminal.
    """
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    bars = min(20, width // 6)
    room = max(12, min(48, width - bars - 42))
    grid.add_column(no_wrap=True, overflow="ellipsis", width=room)
    grid.add_column(width=bars)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for line in stack.lines():
        bar = ProgressBar(
            total=line.total or None,
            completed=min(line.reached, line.total) if line.total else 0,
            width=bars,
            pulse=not line.total,
        )
        name = line.name if len(line.name) <= room else line.short
        grid.add_row(Text(name), bar, Text(line.counts))
    return grid


def page(stack: Stack) -> str:
    """The lines as HTML, names escaped."""
    return "".join(
        '<div style="font-family:monospace;white-space:pre">'
        + f"<progress{_value(line)}></progress> {html.escape(line.name)}"
        + f"  {line.counts}</div>"
        for line in stack.lines()
    )


def _value(line: Line) -> str:
    return f' value="{line.reached:.3f}" max="{line.total}"' if line.total else ""


class Terminal(Stack):
    """Draws on a terminal below what is printed, while a stage is open.

    Args:
        console: Returns rich's console of the terminal; it honours NO_COLOR.
    """

    def __init__(self, console: Callable[[], Any]):
        super().__init__()
        self.console = console
        self._live: Any = None

    def opened(self, stage: Stage) -> None:
        """See Display."""
        super().opened(stage)
        if self._live is None:
            from rich.live import Live

            console = self.console()
            self._live = Live(
                console=console,
                get_renderable=lambda: picture(self, console.width),
                refresh_per_second=5,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=True,
            )
            before = sys.stdout, sys.stderr
            self._live.start()
            if isinstance(before[0], CleanStream):  # rich obeys what it finds in printed lines
                sys.stdout = clean(sys.stdout)
            if isinstance(before[1], CleanStream):
                sys.stderr = clean(sys.stderr)

    def closed(self, stage: Stage) -> None:
        """See Display."""
        super().closed(stage)
        if not self.stages:
            self.stop()

    def stop(self) -> None:
        """Take the area away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show what is announced within the block."""
        with progress.shown_by(self):
            try:
                yield
            finally:
                self.stages.clear()
                self.stop()


class Notebook(Stack):
    """Draws in a notebook's cell, twice a second.

    Args:
        show: Shows HTML, and returns a function that replaces it.
    """

    def __init__(self, show: Callable[[str], Callable[[str], None]]):
        super().__init__()
        self.show = show

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show what is announced within the block."""
        replace, ended = self.show(""), threading.Event()

        def draw() -> None:
            while not ended.wait(0.5):
                replace(page(self))

        thread = threading.Thread(target=draw, daemon=True)
        thread.start()
        try:
            with progress.shown_by(self):
                yield
        finally:
            ended.set()
            thread.join()
            replace("")


def _html() -> Callable[[str], Callable[[str], None]] | None:
    """How HTML is shown where this runs in a notebook's kernel; None elsewhere."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None

    def show(text: str) -> Callable[[str], None]:
        html_of = ipython.display.HTML
        handle = ipython.display.display(html_of(text), display_id=True)
        return lambda text: handle.update(html_of(text))

    return show


@contextmanager
def shown() -> Iterator[None]:
    """Show work under way within the block: in a notebook's cell, or on the terminal of stderr.

    Elsewhere, in a process other than the first, and within another display nothing more is shown.

    Example:
        >>> with shown():
        ...     pass
    """
    show = _html()
    first = os.environ.get("RANK", "0") == "0"
    if not first or progress.is_shown() or (show is None and not sys.stderr.isatty()):
        yield
        return
    with Terminal(_console).shown() if show is None else Notebook(show).shown():
        yield


@contextmanager
def hushed() -> Iterator[None]:
    """Show nothing within the block, assay's own warnings among it."""
    log = logging.getLogger("assay")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _console() -> Any:
    from rich.console import Console

    return Console(file=raw(sys.stderr), stderr=True, highlight=False, markup=False)
