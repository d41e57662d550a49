"""Labels that get out of each other's way, in pixels of a chart's plot.

Vega has a transform for this (`label`), but it paints on a canvas, and there is none where a still
is rendered without a browser. So the places are computed here, for the still and the live chart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay.report.curves import Curve, Mark
from assay.stats.curve_fit import Array

LINE, EM = 12, 7.6  # height of a line, and mean width of a letter, taken rather too wide
LEFT, RIGHT = 6.0, 12.0  # room inside the plot before the first and after the last place
_AROUND = (
    ("left", 9, 4),
    ("center", 0, -12),
    ("center", 0, 21),
    ("left", 9, -9),
    ("left", 9, 17),
    ("right", -9, -9),
    ("right", -9, 17),
    ("right", -9, 4),
    ("center", 0, -26),
    ("center", 0, 34),
)


@dataclass
class Label:
    """Words with their place in pixels.

    Attributes:
        x: From the plot's left edge.
        y: From its upper edge, of the letters' base line.
        align: "left", "center" or "right".
        text: The words.
        look: "mark", "gold", "proxy" or "zero".
        method: The method that the words belong to.
    """

    x: float
    y: float
    align: str
    text: str
    look: str
    method: str = ""


class Frame:
    """Data units to pixels, and the places that are taken already."""

    def __init__(self, width: float, height: float, x: tuple[float, float], y: tuple[float, float]):
        self.width, self.height, self.x, self.y = width, height, x, y
        self.taken: list[tuple[float, float, float, float]] = []

    def px(self, x: Array | float) -> Array:
        """Pixels from the left edge."""
        share = (np.asarray(x, dtype=float) - self.x[0]) / (self.x[1] - self.x[0])
        return np.asarray(LEFT + share * (self.width - LEFT - RIGHT))

    def py(self, y: Array | float) -> Array:
        """Pixels from the upper edge."""
        share = (np.asarray(y, dtype=float) - self.y[0]) / (self.y[1] - self.y[0])
        return np.asarray(self.height * (1 - share))

    def block(self, xs: Array, ys: Array, r: float = 3.0) -> None:
        """Keep labels off these places.

        Args:
            xs: Pixels from the left edge.
            ys: Pixels from the upper edge.
            r: Pixels to keep off on every side.
        """
        self.taken += [(x - r, y - r, x + r, y + r) for x, y in zip(xs, ys, strict=True)]

    def curve(self, c: Curve) -> None:
        """Keep labels off a curve."""
        xs, ys = self.px(c.x), self.py(c.y)
        forward = len(xs) > 1 and bool((np.diff(xs) > 0).all())
        dense = np.linspace(xs[0], xs[-1], 80) if forward else xs
        self.block(dense, np.interp(dense, xs, ys) if forward else ys)

    def mark(self, m: Mark) -> None:
        """Keep labels off a mark and its interval."""
        x, y = float(self.px(m.x)), float(self.py(m.y))
        self.block(np.array([x]), np.array([y]), 8.0)
        low, high = (float(self.py(m.y + side * (m.half or 0.0))) for side in (-1, 1))
        self.block(np.full(9, x), np.linspace(low, high, 9))

    def label(self, x: float, y: float, text: str, look: str, method: str = "") -> list[Label]:
        """Find the place of a label near (x, y) that covers nothing, and take it.

        Args:
            x: Pixels from the left edge.
            y: Pixels from the upper edge.
            text: The words.
            look: "mark", "gold", "proxy" or "zero".
            method: The method that the words belong to, "" for none.

        Returns:
            One label; [] where there is no such place.
        """
        w, h = len(text) * EM, LINE + 2.0
        for align, dx, dy in _AROUND:
            left = x + dx - {"left": 0.0, "center": w / 2, "right": w}[align]
            box = (left, y + dy - h + 3, left + w, y + dy + 3)
            inside = left >= 0 and box[2] <= self.width and box[1] >= -4 and box[3] <= self.height
            if inside and not any(
                box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3]
                for b in self.taken
            ):
                self.taken.append(box)
                return [Label(x + dx, y + dy, align, text, look, method)]
        return []


def placed(frame: Frame, curves: Sequence[Curve], marks: Sequence[Mark], zero: str) -> list[Label]:
    """The labels of a chart: the marks', the curves' names, the name of the line at 0.

    Args:
        frame: The plot; it remembers the places that are taken.
        curves: The curves; labels keep off gold's and the proxy's.
        marks: The marks; labels keep off all of them.
        zero: Name of the line at 0, "" for none.

    Returns:
        The labels for which there is a place.
    """
    for c in curves:
        if c.role in ("gold", "proxy"):
            frame.curve(c)
    for m in marks:
        frame.mark(m)
    out = []
    for m in marks:
        if m.text:
            out += frame.label(float(frame.px(m.x)), float(frame.py(m.y)), m.text, "mark", m.method)
    for c in curves:
        if c.label:
            x, y = float(frame.px(c.x[-1])), float(frame.py(c.y[-1]))
            out += frame.label(x, y, c.label, "proxy" if c.role == "proxy" else "gold", c.method)
    if zero:
        out += frame.label(frame.width - 4, float(frame.py(0.0)) - 1, zero, "zero")
    return out
