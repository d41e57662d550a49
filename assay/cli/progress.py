"""Progress: a clock where the length is unknown, a bar where it is known, one line a reading."""

from __future__ import annotations

import functools
import math
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
from assay.stats.training import statistics

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


def line(reading: dict[str, Any]) -> str:
    """One evaluation: gold beside proxy, with their errors."""
    kl = reading["kl"]
    root = "  –  " if kl is None else f"{math.sqrt(max(0.0, kl)):5.2f}"
    return (
        f"step {reading['step']:>4}  √KL {root}  gold "
        f"{number(reading['gold'], reading['gold_err'])}  "
        f"proxy {number(reading['proxy'], reading['proxy_err'])}  {reading['tag']}"
    ).rstrip() + f"{trained_line(reading)}{watched_line(reading)}"


# what a line says of training: its word, the statistic, how it is written
TRAINED = (
    ("loss", "loss", "{:.3g}"),
    ("grad", "grad_norm", "{:.2g}"),
    ("reward", "reward", "{:.3g}"),
    ("±", "reward_std", "{:.2g}"),
    ("margin", "rewards/margins", "{:.3g}"),
    ("accuracy", "rewards/accuracies", "{:.0%}"),
    ("entropy", "entropy", "{:.2g}"),
    ("length", "completions/mean_length", "{:.0f}"),
    ("truncated", "completions/clipped_ratio", "{:.0%}"),
    ("clipped", "clip_ratio/region_mean", "{:.0%}"),
    ("same reward", "frac_reward_zero_std", "{:.0%}"),
    ("skipped", "skipped", "{:.0f}"),
)
AT_REST = ("clipped", "same reward", "skipped")  # said only where they are above 0


def trained_line(reading: dict[str, Any]) -> str:
    """Means of the training statistics since the last reading, on a line of their own; "" where
    nothing was trained.
    """
    stats = statistics(reading)
    said = [
        f"{word} {form.format(stats[key])}".replace("± ", "±").replace("%", " %")
        for word, key, form in TRAINED
        if key in stats and (stats[key] or word not in AT_REST)
    ]
    return "\n           " + "  ".join(said).replace("  ±", " ±") if said else ""


def watched_line(reading: dict[str, Any]) -> str:
    """The watch's verdict, on a line of its own; "" where nothing is watched. A hint is shown once,
    when it begins.
    """
    watch = reading.get("watch")
    if not watch:
        return ""
    hints = "".join(
        f"\n           {h['label']}: {h['why']}"
        for h in watch["hints"]
        if h["since"] == reading["step"]
    )
    return f"\n           watch: {watch['says']}{hints}"


def number(value: float | None, error: float | None) -> str:
    """A mean with its error; a dash where nothing was measured."""
    if value is None:
        return f"{'–':>14}"
    return f"{value:7.3f} ±{error:.3f}" if error is not None else f"{value:7.3f}       "
