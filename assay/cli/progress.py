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

SOON = 2.0  # seconds; what takes less is not worth a line
STARTING = "starting"
SAYING = ("steps", "readings", "lines")  # a stage of these prints its own lines
HOLDING = ("runs", "seeds")  # a stage of these holds such stages, and worlds that are built


class Lines:
    """A display where there is no terminal: a line for what took long, outside of a run's steps."""

    def opened(self, stage: Stage) -> None:
        """See Display."""

    def moved(self, stage: Stage) -> None:
        """See Display."""

    def closed(self, stage: Stage) -> None:
        """See Display."""
        took = time.monotonic() - stage.began
        if stage.name == STARTING:  # what a slow disk takes says nothing of the work
            return
        if took > SOON and stage.unit not in (*SAYING, *HOLDING) and not _within_lines(stage):
            screen.note(f"{stage.name}: {took:.0f} s")


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
