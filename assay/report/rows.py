"""The table behind a chart: one row a place of a curve, a mark or a word.

`l` names the layer that draws the row, `m` the method that it belongs to ("" for none). `x` and `y`
are in data units, `px` and `py` in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from assay.data.escape import number
from assay.report.curves import Curve, Mark
from assay.report.labels import Frame, Label

APART = 24  # pixels between two markers of a curve


def _brief(value: float) -> float:
    return float(f"{value:.6g}")


def curve_rows(curves: Sequence[Curve], frame: Frame, x_label: str) -> Iterable[dict[str, Any]]:
    """Lines, bands, markers (thinned to what an eye can tell apart) and what a pointer reads.

    Args:
        curves: The curves.
        frame: The plot, whose pixels decide which markers are too near.
        x_label: The horizontal axis, for a pointer's box.

    Returns:
        Rows of the chart's data; "l" names the layer of each.
    """
    for s, c in enumerate(curves):
        own = {"m": c.method, "s": s}
        for i in range(len(c.x)):
            at = {"x": _brief(c.x[i]), "y": _brief(c.y[i])}
            if c.role != "points":
                yield {"l": c.role, **own, "i": i, **at}
            if c.value:
                yield {"l": "hover", **own, **at, **_said(c, i, x_label)}
        yield from (
            {"l": "band", **own, "i": i, "x": x, "y": y} for i, (x, y) in enumerate(_around(c))
        )
        xs, last = frame.px(c.x), -np.inf
        for i, kind in enumerate(c.kinds):
            if c.role == "points" or abs(xs[i] - last) >= APART or i == len(xs) - 1:
                last = xs[i]
                at = {"x": _brief(c.x[i]), "y": _brief(c.y[i])}
                yield {"l": "point", "m": c.method, **at, "k": kind}


def _around(c: Curve) -> list[tuple[float, float]]:
    """The outline of a curve's band: its upper ends forth, its lower ends back."""
    if c.low is None or c.high is None:
        return []
    known = np.isfinite(c.low) & np.isfinite(c.high)
    xs, low, high = c.x[known], c.low[known], c.high[known]
    forth, back = zip(xs, high, strict=True), zip(xs[::-1], low[::-1], strict=True)
    return [(_brief(x), _brief(y)) for x, y in (*forth, *back)]


def _said(c: Curve, i: int, x_label: str) -> dict[str, str]:
    """What the box of a point says, in the numbers of the tables."""
    where = number(float(c.x[i]))
    if "KL" in x_label:
        kind = f", {c.kinds[i]}" if c.kinds and c.kinds[i] != "unknown" else ""
        where = f"√KL {where} (KL {number(float(c.x[i]) ** 2)} nats{kind})"
    else:
        where = f"step {where}"
    said = {"at": where, "v": f"{c.value} {number(float(c.y[i]) / c.scale, sign=True)}"}
    if c.low is not None and c.high is not None and np.isfinite(c.low[i] + c.high[i]):
        ends = (number(float(e[i]) / c.scale, sign=True) for e in (c.low, c.high))
        said["v"] += " (95 %: {} … {})".format(*ends)
    return said


def mark_rows(marks: Sequence[Mark]) -> Iterable[dict[str, Any]]:
    """Peaks and re-read checkpoints, with their intervals."""
    for m in marks:
        at = {"m": m.method, "x": _brief(m.x)}
        yield {"l": "star" if m.kind == "star" else "ring", **at, "y": _brief(m.y)}
        if m.half is not None:
            yield {"l": "bar", **at, "y": _brief(m.y - m.half), "y2": _brief(m.y + m.half)}


def label_rows(labels: Sequence[Label]) -> Iterable[dict[str, Any]]:
    """Words at their places in pixels."""
    for w in labels:
        place = {"px": round(w.x, 1), "py": round(w.y, 1)}
        yield {"l": f"text-{w.look}-{w.align}", "m": w.method, **place, "t": w.text}
