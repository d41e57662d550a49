"""What a person sees while something runs: a clock where the length is unknown, a bar where it is
known, one line a reading.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


@contextmanager
def working(what: str) -> Iterator[None]:
    """A clock on stderr until the block ends, above whatever bars the block has. Without a
    terminal: one line, afterwards.
    """
    began, over = time.monotonic(), threading.Event()
    with tqdm(
        desc=what,
        bar_format="{desc}: {elapsed}",
        leave=False,
        disable=None,
        delay=2,
        file=sys.stderr,
    ) as clock:

        def tick() -> None:
            while not over.wait(1.0):
                clock.update(0)
                clock.refresh()

        ticking = threading.Thread(target=tick, daemon=True)
        ticking.start()
        try:
            yield
        finally:
            over.set()
            ticking.join()
    took = time.monotonic() - began
    if took > 2:
        print(f"{what}: {took:.0f} s", file=sys.stderr)


def bar(label: str, total: int) -> tqdm:
    """A progress bar on stderr; none where stderr is not a terminal, or in another process than the
    first.
    """
    other = os.environ.get("RANK", "0") != "0"
    return tqdm(
        total=total,
        desc=label,
        unit="step",
        leave=False,
        disable=other or None,
        file=sys.stderr,
        dynamic_ncols=True,
    )


def watched(recipe: Callable[..., Any], shown: tqdm) -> Callable[..., Iterator[Any]]:
    """The same recipe, its every step moving the bar."""

    @functools.wraps(recipe)
    def steps(task: Any, **arguments: Any) -> Generator[Any, Any, None]:
        inner = recipe(task, **arguments)
        reply = None
        while True:
            try:
                item = inner.send(reply)
            except StopIteration:
                return
            shown.total = max(task.carry.total, task.carry.next)
            shown.update(task.carry.next - shown.n)
            reply = yield item

    return steps


def line(reading: dict[str, Any]) -> str:
    """One evaluation: gold beside proxy, with their errors."""
    kl = reading["kl"]
    root = "  –  " if kl is None else f"{math.sqrt(max(0.0, kl)):5.2f}"
    return (
        f"step {reading['step']:>4}  √KL {root}  gold "
        f"{number(reading['gold'], reading['gold_err'])}  proxy "
        f"{number(reading['proxy'], reading['proxy_err'])}  {reading['tag']}"
    ).rstrip() + watched_line(reading)


def watched_line(reading: dict[str, Any]) -> str:
    """What the watch says of it, below; "" where nothing is watched. A hint is said once, when it
    begins.
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
    """A mean with its error, a dash where nothing was measured."""
    if value is None:
        return f"{'–':>14}"
    return f"{value:7.3f} ±{error:.3f}" if error is not None else f"{value:7.3f}       "
