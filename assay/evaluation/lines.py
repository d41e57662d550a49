"""A reading as lines of text for a terminal or a notebook."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def reading_line(reading: Mapping[str, Any]) -> str:
    """One evaluation: gold beside proxy, with their errors."""
    kl = reading["kl"]
    root = "  –  " if kl is None else f"{math.sqrt(max(0.0, kl)):5.2f}"
    return (
        f"step {reading['step']:>4}  √KL {root}  gold "
        f"{number(reading['gold'], reading['gold_err'])}  "
        f"proxy {number(reading['proxy'], reading['proxy_err'])}  {reading['tag']}"
    ).rstrip() + watched_line(reading)


def watched_line(reading: Mapping[str, Any]) -> str:
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
