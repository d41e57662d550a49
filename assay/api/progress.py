"""What a run shows while Python drives it: a bar and one line a reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

from assay.api.execution import Drive
from assay.evaluation.lines import reading_line


class Display:
    """A bar over a run's steps; nothing with `quiet`."""

    def __init__(self, drive: Drive, *, quiet: bool):
        self._quiet = quiet
        self._bar = tqdm(
            total=drive.loop.max_steps,
            desc=drive.order.entry.name,
            unit="step",
            disable=quiet or None,
            leave=False,
        )

    def watched(self, recipe: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
        """The same recipe; each of its steps moves the bar."""
        return recipe

    def reading(self, reading: Any) -> None:
        """Print a reading's line."""
        if not self._quiet:
            self._bar.write(reading_line(reading))
            self._bar.update(reading["step"] - self._bar.n if reading["tag"] != "best" else 0)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


@contextmanager
def shown(drive: Drive, *, quiet: bool) -> Iterator[Display]:
    """A display of a run until the block ends."""
    display = Display(drive, quiet=quiet)
    try:
        yield display
    finally:
        display.close()
