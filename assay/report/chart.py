"""One chart as SVG, written by hand: axes, bands, curves, marks, and labels that get out of each
other's way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from assay.data.escape import safe
from assay.stats.curve_fit import Array

STYLE = (Path(__file__).parent / "chart.css").read_text("utf-8")
COLOURS, SHAPES = 7, 6
LAYERS = ("seed", "fit", "other", "proxy", "points", "gold")  # from the back to the front
LINE, EM = 12, 7.6  # the font's size, and the mean width of its letters, taken rather too wide


@dataclass
class Curve:
    """x and y in data units. `role`: gold (solid), proxy (dashed), seed (faint), fit (thin), points
    (markers only). `place` chooses colour and marker. `kinds`: of KL, point by point, drawn as the
    marker's filling; [] for no markers.
    """

    x: Array
    y: Array
    place: int
    role: str = "gold"
    low: Array | None = None
    high: Array | None = None
    kinds: list[str] = field(default_factory=list)
    label: str = ""


@dataclass
class Mark:
    """A peak (ring) or a checkpoint read again (star, with its interval)."""

    x: float
    y: float
    place: int
    kind: str = "peak"
    half: float | None = None
    text: str = ""


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from low to high, about so many."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, about)
    size = 10 ** math.floor(math.log10(raw))
    step = next(m * size for m in (1, 2, 5, 10) if m * size >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick(t: float) -> str:
    """A round number, with no more decimals than it needs."""
    return f"{t + 0.0:.6g}".replace("-", "−")


def marker(x: float, y: float, place: int, r: float = 4.0, kind: str = "exact") -> str:
    """A method's marker: filled where KL is exact, hollow where it is sampled, hollow with an arrow
    where it is an upper bound (the true place is to the left).
    """
    corners: dict[int, list[tuple[float, float]]] = {
        1: [(-1, -1), (1, -1), (1, 1), (-1, 1)],
        2: [(0, -1.25), (1.2, 0.95), (-1.2, 0.95)],
        3: [(0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)],
        4: [(0, 1.25), (1.2, -0.95), (-1.2, -0.95)],
        5: [(-0.65, -1.15), (0.65, -1.15), (1.3, 0), (0.65, 1.15), (-0.65, 1.15), (-1.3, 0)],
    }
    look = f'class="m{"" if kind == "exact" else " hollow"}"'
    if place % SHAPES == 0:
        shape = f'<circle {look} cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>'
    else:
        d = "L".join(
            f"{x + r * a * 0.95:.1f},{y + r * b * 0.95:.1f}" for a, b in corners[place % SHAPES]
        )
        shape = f'<path {look} d="M{d}Z"/>'
    arrow = (
        f'<path class="arrow" d="M{x - r:.1f},{y:.1f}h-7m3,-3l-3,3l3,3"/>'
        if kind == "upper"
        else ""
    )
    return arrow + shape


def _star(x: float, y: float, r: float = 7.5) -> str:
    angle = np.arange(10) * math.pi / 5
    size = np.where(np.arange(10) % 2 == 0, r, 0.42 * r)
    return f'<path class="star" d="{_d(x + np.sin(angle) * size, y - np.cos(angle) * size)}Z"/>'


def _d(xs: Array, ys: Array) -> str:
    return "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in zip(xs, ys, strict=True))


def y_range(
    curves: Sequence[Curve], marks: Sequence[Mark] = (), zero: bool = True
) -> tuple[float, float]:
    """The y-range: the curves and marks, and of the bands what adds no more than a quarter on
    either side.
    """
    core = np.concatenate(
        [c.y[np.isfinite(c.y)] for c in curves]
        + [np.array([m.y for m in marks] + ([0.0] if zero else []))]
    )
    low, high = (float(core.min()), float(core.max())) if len(core) else (0.0, 1.0)
    room = (high - low) / 4 or max(abs(high), 1.0) / 4
    bands = [b[np.isfinite(b)] for c in curves for b in (c.low, c.high) if b is not None]
    whole = np.concatenate([*bands, np.array([low, high])])
    low, high = max(low - room, float(whole.min())), min(high + room, float(whole.max()))
    pad = (high - low) * 0.06 or 0.5
    return low - pad, high + pad


class _Frame:
    """Data units to pixels, and the labels that already have a place."""

    def __init__(
        self, box: tuple[float, float, float, float], x: tuple[float, float], y: tuple[float, float]
    ):
        self.left, self.top, self.right, self.bottom = box
        self.x, self.y = x, y
        self.taken: list[tuple[float, float, float, float]] = []

    def px(self, x: Array | float) -> Array:
        share = (np.asarray(x, dtype=float) - self.x[0]) / (self.x[1] - self.x[0])
        return np.asarray(self.left + 6 + share * (self.right - self.left - 18))

    def py(self, y: Array | float) -> Array:
        share = (np.asarray(y, dtype=float) - self.y[0]) / (self.y[1] - self.y[0])
        return np.asarray(self.bottom - share * (self.bottom - self.top))

    def block(self, xs: Array, ys: Array, r: float = 3.0) -> None:
        """No label may cover these places."""
        self.taken += [(x - r, y - r, x + r, y + r) for x, y in zip(xs, ys, strict=True)]

    def label(self, x: float, y: float, text: str, look: str) -> str:
        """A label near (x, y), where it covers nothing that lies already; "" where there is no such
        place.
        """
        w, h = len(text) * EM, LINE + 2.0
        for anchor, dx, dy in (
            ("start", 9, 4),
            ("middle", 0, -12),
            ("middle", 0, 21),
            ("start", 9, -9),
            ("start", 9, 17),
            ("end", -9, -9),
            ("end", -9, 17),
            ("end", -9, 4),
            ("middle", 0, -26),
            ("middle", 0, 34),
        ):
            left = x + dx - {"start": 0.0, "middle": w / 2, "end": w}[anchor]
            box = (left, y + dy - h + 3, left + w, y + dy + 3)
            inside = (
                left >= self.left
                and box[2] <= self.right
                and box[1] >= self.top - 4
                and box[3] <= self.bottom
            )
            if inside and not any(
                box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3]
                for b in self.taken
            ):
                self.taken.append(box)
                return f'<text class="{look}" x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{anchor}">{safe(text)}</text>'
        return ""


def _legend(entries: Sequence[tuple[str, str]], width: float) -> tuple[str, float]:
    """(markup, height) of a legend that flows over as many rows as it needs; an entry is (sample's
    markup, text).
    """
    x, y, out = 8.0, 16.0, []
    for sample, text in entries:
        w = 32 + len(text) * EM + 12
        if x + w > width and x > 8:
            x, y = 8.0, y + 20
        out.append(
            f'<g transform="translate({x:.1f},{y:.1f})">{sample}<text x="32" '
            f'y="4">{safe(text)}</text></g>'
        )
        x += w
    return "".join(out), (y + 14 if entries else 4)


def _axes(f: _Frame, kl_row: bool, second: tuple[float, str] | None) -> Iterator[str]:
    def tick(x: float, y: float, t: float, look: str = "", anchor: str = "middle") -> str:
        return f'<text class="tick{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_tick(t)}</text>'

    for t in ticks(*f.y, max(3, round((f.bottom - f.top) / 55))):
        y = float(f.py(t))
        yield f'<path class="grid" d="M{f.left},{y:.1f}H{f.right}"/>{tick(f.left - 7, y + 4, t, anchor="end")}'
    if second:
        for t in ticks(f.y[0] / second[0], f.y[1] / second[0], 5):
            yield tick(f.right + 7, float(f.py(t * second[0])) + 4, t, anchor="start")
    for t in ticks(*f.x, max(3, round((f.right - f.left) / 75))):
        x = float(f.px(t))
        yield f'<path class="axis" d="M{x:.1f},{f.bottom}v5"/>{tick(x, f.bottom + 18, t)}'
        yield tick(x, f.bottom + 33, t * t, " faint") if kl_row else ""
    if kl_row:
        yield f'<text class="tick" x="6" y="{f.bottom + 18}">√KL</text>'
        yield f'<text class="tick faint" x="6" y="{f.bottom + 33}">KL</text>'
    yield f'<path class="axis" d="M{f.left},{f.bottom}H{f.right}"/>'


def _curve(f: _Frame, c: Curve) -> str:
    """A curve's line and its markers, thinned to what can be told apart; only its readings' own
    markers where it is points.
    """
    xs, ys, look = f.px(c.x), f.py(c.y), f"c{c.place % COLOURS}"
    out = "" if c.role == "points" else f'<path class="line {c.role} {look}" d="{_d(xs, ys)}"/>'
    last, shown = -math.inf, []
    for i, kind in enumerate(c.kinds):
        if c.role == "points" or abs(xs[i] - last) >= 24 or i == len(xs) - 1:
            shown.append(
                marker(float(xs[i]), float(ys[i]), c.place, 3.4 if c.role == "points" else 4, kind)
            )
            last = xs[i]
    if c.role in ("gold", "proxy"):
        forward = len(xs) > 1 and bool((np.diff(xs) > 0).all())
        dense = np.linspace(xs[0], xs[-1], 80) if forward else xs
        f.block(dense, np.interp(dense, xs, ys) if forward else ys)
    return out + (f'<g class="{look}">{"".join(shown)}</g>' if shown else "")


def _band(f: _Frame, c: Curve) -> str:
    if c.low is None or c.high is None:
        return ""
    known = np.isfinite(c.low) & np.isfinite(c.high)
    xs, low, high = f.px(c.x[known]), f.py(c.low[known]), f.py(c.high[known])
    around = _d(np.r_[xs, xs[::-1]], np.r_[high, low[::-1]])
    return f'<path class="band c{c.place % COLOURS}" d="{around}Z"/>' if len(xs) > 1 else ""


def _mark(f: _Frame, m: Mark) -> str:
    x, y = float(f.px(m.x)), float(f.py(m.y))
    f.block(np.array([x]), np.array([y]), 8.0)
    low, high = (float(f.py(m.y + side * (m.half or 0.0))) for side in (-1, 1))
    f.block(np.full(9, x), np.linspace(low, high, 9))
    bar = "" if m.half is None else f'<path class="bar" d="M{x:.1f},{low:.1f}V{high:.1f}"/>'
    head = (
        _star(x, y)
        if m.kind == "star"
        else f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="8"/>'
    )
    return f'<g class="c{m.place % COLOURS}">{bar}{head}</g>'


def chart(
    curves: Sequence[Curve],
    marks: Sequence[Mark] = (),
    *,
    ident: str,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    width: int = 860,
    height: int = 430,
    legend: Sequence[tuple[str, str]] = (),
    kl_row: bool = False,
    second: tuple[float, str] | None = None,
    y: tuple[float, float] | None = None,
    zero: str | None = None,
    alone: bool = False,
) -> str:
    """An accessible SVG. `kl_row`: x is √KL, and KL itself stands below. `second`: (factor, label)
    of a right-hand axis that shows y/factor. `y`: the range, if several charts share it. `zero`:
    draw the line at 0 and call it so. `alone`: with its own style and background.
    """
    key, top = _legend(legend, width)
    drawn = [c for c in curves if len(c.x)]
    far = max([float(np.nanmax(c.x)) for c in drawn] + [m.x for m in marks] + [0.0])
    box = (50.0, top + 20, width - (48.0 if second else 14.0), height - (52.0 if kl_row else 38.0))
    f = _Frame(box, (0.0, far or 1.0), y or y_range(drawn, marks, zero is not None))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" '
        'role="img" '
        f'aria-labeledby="{ident}-t {ident}-d"><title id="{ident}-t">{safe(title)}</title>'
        f'<desc id="{ident}-d">{safe(description)}</desc>'
    ]
    if alone:
        out.append(f'<style>{STYLE}</style><rect class="paper" width="{width}" height="{height}"/>')
    out += [
        key,
        *_axes(f, kl_row, second),
        f'<text class="label" x="6" y="{f.top - 9}">{safe(y_label)}</text>',
        f'<text class="label" x="{f.right}" y="{height - 5}" '
        f'text-anchor="end">{safe(x_label)}</text>',
    ]
    if second:
        out.append(
            f'<text class="label" x="{width - 6}" y="{f.top - 9}" '
            f'text-anchor="end">{safe(second[1])}</text>'
        )
    level = zero is not None and f.y[0] < 0 < f.y[1]
    if level:
        out.append(f'<path class="zero" d="M{f.left},{float(f.py(0)):.1f}H{f.right}"/>')
    out.append(
        f'<clipPath id="{ident}-c"><rect x="{f.left}" y="{f.top - 4}" width="{f.right - f.left}" '
        f'height="{f.bottom - f.top + 8}"/></clipPath><g clip-path="url(#{ident}-c)">'
    )
    out += [_band(f, c) for c in drawn]
    out += [_curve(f, c) for role in LAYERS for c in drawn if c.role == role]
    out += [_mark(f, m) for m in marks] + ["</g>"]
    out += [
        f.label(float(f.px(m.x)), float(f.py(m.y)), m.text, f"mark t{m.place % COLOURS}")
        for m in marks
        if m.text
    ]
    out += [
        f.label(
            float(f.px(c.x[-1])),
            float(f.py(c.y[-1])),
            c.label,
            f"end {c.role} t{c.place % COLOURS}",
        )
        for c in drawn
        if c.label
    ]
    if level and zero:
        out.append(f.label(f.right - 4, float(f.py(0)) - 1, zero, "tick faint"))
    return "".join(out) + "</svg>"
