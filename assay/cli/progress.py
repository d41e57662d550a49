"""What a command shows of work under way."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from assay.api.progress import Terminal
from assay.cli import screen
from assay.engine import progress
from assay.engine.progress import Stage

EVERY = 60.0  # seconds between two lines of a run under way; a run that takes less has none
SOON = 2.0  # seconds; what takes less is not worth a line
STARTING = "starting"
SAYING = ("steps", "readings", "lines")  # a stage of these prints its own lines
HOLDING = ("runs", "seeds")  # a stage of these holds such stages, and worlds that are built


class Lines:
    """A display where there is no terminal: a line for what took long, outside of a run's steps,
    and one a minute at most for a run under way.
    """

    def __init__(self) -> None:
        self._said = self._stepped = time.monotonic()

    def opened(self, stage: Stage) -> None:
        """See Display."""
        self._tell(stage)

    def moved(self, stage: Stage) -> None:
        """See Display."""
        if stage.unit == "steps" and _run_of(stage) is stage:
            self._stepped = time.monotonic()
        self._tell(stage)

    def _tell(self, stage: Stage) -> None:
        """Say how far the run is that holds this stage, if nothing was said of it for long."""
        now = time.monotonic()
        if now - self._said < EVERY:
            return
        run = _run_of(stage)
        if run is not None and now - run.began >= EVERY:
            self._said = now
            screen.note(under_way(run, stage, self._stepped, now))

    def closed(self, stage: Stage) -> None:
        """See Display."""
        self._tell(stage)
        took = time.monotonic() - stage.began
        if stage.name == STARTING:  # what a slow disk takes says nothing of the work
            return
        if took > SOON and stage.unit not in (*SAYING, *HOLDING) and not _within_lines(stage):
            screen.note(f"{stage.name}: {took:.0f} s")


def _run_of(stage: Stage) -> Stage | None:
    """The outermost run that holds a stage, or is it."""
    run, at = None, stage
    while at is not None:
        run, at = (at if at.unit == "steps" else run), at.parent  # type: ignore[assignment]
    return run


def under_way(run: Stage, inner: Stage, stepped: float, now: float) -> str:
    """How far a run is, in one line.

    Args:
        run: The run's stage.
        inner: What it does at present.
        stepped: When its last step ended, by `time.monotonic`.
        now: The time.
    """
    of = "" if run.total is None else f" of {run.total}"
    done = run.done - run.first
    if done <= 0:
        return f"step {run.done + 1}{of}" + (f": {inner.name}" if inner is not run else "")
    each, left = (stepped - run.began) / done, ""
    if run.total is not None:
        seconds = each * (run.total - run.done) - (now - stepped)
        left = f", about {duration(seconds)} left" if seconds > 0 else ""
    return f"step {run.done}{of}, {duration(each)} a step{left}"


def duration(seconds: float) -> str:
    """Seconds in words.

    Example:
        >>> [duration(s) for s in (2.34, 42, 150, 4080, 360000)]
        ['2.3 s', '42 s', '2 min', '1 h 8 min', '100 h']
    """
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h" + (f" {minutes} min" if minutes and hours < 24 else "")


def _within_lines(stage: Stage) -> bool:
    """Whether a stage is part of something that prints its own lines."""
    return stage.parent is not None and (stage.parent.unit in SAYING or _within_lines(stage.parent))


@contextmanager
def shown() -> Iterator[None]:
    """Show work under way within the block: bars on a terminal, else a line for what takes long;
    nothing with --quiet.
    """
    if screen.is_quiet():
        yield
    elif sys.stderr.isatty():
        with Terminal(screen.errors).shown():
            yield
    else:
        with progress.shown_by(Lines()):
            yield
