"""What a chart shows, before any library draws it: curves, marks, and the ranges of the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from assay.stats.curve_fit import Array

ROLES = ("seed", "fit", "other", "proxy", "points", "gold")  # from the back to the front

COVER = 0.6  # the part of the vertical range that the usual band covers at most


@dataclass
class Curve:
    """One curve of a chart, in data units.

    Attributes:
        x: Places on the horizontal axis, in the order of reading.
        y: Heights as drawn.
        place: Chooses the colour and the marker; the method's place in its world.
        role: "gold" (solid), "proxy" (dashed), "seed" (faint), "fit" (a fitted form), "other"
            (dotted) or "points" (markers without a line).
        low: Lower ends of the band, if there is one.
        high: Upper ends of the band.
        kinds: Kind of KL of each point, which decides the filling of its marker; [] for no markers.
        label: Words beside the curve's last point.
        method: The method that the curve belongs to: what the switches of the page turn on and off.
        value: What y is, for the box that a pointer opens; "" for no box.
        scale: y as drawn is the measured value times this.
    """

    x: Array
    y: Array
    place: int
    role: str = "gold"
    low: Array | None = None
    high: Array | None = None
    kinds: list[str] = field(default_factory=list)
    label: str = ""
    method: str = ""
    value: str = ""
    scale: float = 1.0


@dataclass
class Mark:
    """A peak (ring), or a checkpoint that was read again (star, with its interval).

    Attributes:
        x: Place on the horizontal axis.
        y: Height.
        place: The method's place in its world.
        kind: "peak" or "star".
        half: Half of the 95 % interval, if there is one.
        text: Words beside the mark.
        method: The method that the mark belongs to.
    """

    x: float
    y: float
    place: int
    kind: str = "peak"
    half: float | None = None
    text: str = ""
    method: str = ""


def width_of_bands(curves: Sequence[Curve]) -> float:
    """The median width of the curves' bands; 0 without any."""
    widths = [c.high - c.low for c in curves if c.low is not None and c.high is not None]
    known = [w[np.isfinite(w)] for w in widths]
    return float(np.median(np.concatenate(known))) if sum(map(len, known)) else 0.0


def x_range(curves: Sequence[Curve], marks: Sequence[Mark] = ()) -> tuple[float, float]:
    """From 0 to the farthest curve or mark."""
    far = max([float(np.nanmax(c.x)) for c in curves if len(c.x)] + [m.x for m in marks] + [0.0])
    return 0.0, far or 1.0


def y_range(
    curves: Sequence[Curve],
    marks: Sequence[Mark] = (),
    zero: bool = True,
    *,
    whole_bands: bool = False,
) -> tuple[float, float]:
    """The vertical range: curves and marks, and of the bands what adds at most a quarter a side, or
    all.

    Where bands are wider than that, the range holds the usual one, and leaves room beside it: else
    the band would be the whole picture.

    Args:
        curves: What is drawn.
        marks: Peaks and re-read checkpoints.
        zero: Whether 0 must be in the range.
        whole_bands: Whether all of every band is in the range.

    Returns:
        (low, high), with a little room.
    """
    core = np.concatenate(
        [c.y[np.isfinite(c.y)] for c in curves]
        + [np.array([m.y for m in marks] + ([0.0] if zero else []))]
    )
    low, high = (float(core.min()), float(core.max())) if len(core) else (0.0, 1.0)
    usual = width_of_bands(curves)
    quarter = (high - low) / 4 or max(abs(high), 1.0) / 4
    room = np.inf if whole_bands else max(quarter, 0.5 * usual)
    bands = [b[np.isfinite(b)] for c in curves for b in (c.low, c.high) if b is not None]
    whole = np.concatenate([*bands, np.array([low, high])])
    low, high = max(low - room, float(whole.min())), min(high + room, float(whole.max()))
    pad = (high - low) * 0.06 or 0.5
    if not whole_bands:
        pad = max(pad, (usual / COVER - (high - low)) / 2)
    return low - pad, high + pad
