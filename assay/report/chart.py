"""One chart as SVG, written by hand: axes, bands, curves, marks, and labels that get out of each other's way."""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from assay.report.escape import number, safe
from assay.report.fits import Array

STYLE = (Path(__file__).parent / "chart.css").read_text("utf-8")
COLOURS, SHAPES = 7, 6
FONT = 12


@dataclass
class Curve:
    """x and y in data units. `role`: gold (solid), proxy (dashed), seed (faint), fit (thin), points (markers only).
    `place` chooses colour and marker. `kinds`: of KL, point by point, drawn as the marker's filling; [] for no markers."""

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
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick(t: float) -> str:
    """A round number, with no more decimals than it needs."""
    return number(t) if abs(t) >= 1e7 else f"{t:.4f}".rstrip("0").rstrip(".").replace("-0", "0" if abs(t) < 1e-9 else "-0").replace("-", "−")


def marker(x: float, y: float, place: int, r: float = 4.0, kind: str = "exact") -> str:
    """A method's marker: filled where KL is exact, hollow where it is sampled, hollow with an arrow where it is an upper
    bound (the true place is to the left)."""
    corners = {1: [(-1, -1), (1, -1), (1, 1), (-1, 1)], 2: [(0, -1.25), (1.2, 0.95), (-1.2, 0.95)],
               3: [(0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)], 4: [(0, 1.25), (1.2, -0.95), (-1.2, -0.95)],
               5: [(-0.65, -1.15), (0.65, -1.15), (1.3, 0), (0.65, 1.15), (-0.65, 1.15), (-1.3, 0)]}
    look = f'class="m{"" if kind == "exact" else " hollow"}"'
    if place % SHAPES == 0:
        shape = f'<circle {look} cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>'
    else:
        d = "L".join(f"{x + r * a * 0.95:.1f},{y + r * b * 0.95:.1f}" for a, b in corners[place % SHAPES])
        shape = f'<path {look} d="M{d}Z"/>'
    arrow = f'<path class="arrow" d="M{x - r:.1f},{y:.1f}h-7m3,-3l-3,3l3,3"/>' if kind == "upper" else ""
    return arrow + shape


def _star(x: float, y: float, r: float = 7.5) -> str:
    tips = [(math.sin(i * math.pi / 5) * (r if i % 2 == 0 else r * 0.42), -math.cos(i * math.pi / 5) * (r if i % 2 == 0 else r * 0.42))
            for i in range(10)]
    return '<path class="star" d="M' + "L".join(f"{x + a:.1f},{y + b:.1f}" for a, b in tips) + 'Z"/>'


def _d(xs: Array, ys: Array) -> str:
    return "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in zip(xs, ys, strict=True))


def _range(curves: list[Curve], marks: list[Mark], zero: bool) -> tuple[float, float]:
    """The y-range: the curves and marks, and of the bands what adds no more than a quarter on either side."""
    core = np.concatenate([c.y[np.isfinite(c.y)] for c in curves] + [np.array([m.y for m in marks] + ([0.0] if zero else []))])
    low, high = (float(core.min()), float(core.max())) if len(core) else (0.0, 1.0)
    room = (high - low) / 4 or max(abs(high), 1.0) / 4
    bands = [b[np.isfinite(b)] for c in curves for b in (c.low, c.high) if b is not None]
    whole = np.concatenate([*bands, np.array([low, high])])
    low, high = max(low - room, float(whole.min())), min(high + room, float(whole.max()))
    pad = (high - low) * 0.06 or 0.5
    return low - pad, high + pad


class _Labels:
    """Greedy placement: a label goes where it covers nothing that lies already, or is left out."""

    def __init__(self, right: float, top: float, bottom: float):
        self.boxes: list[tuple[float, float, float, float]] = []
        self.right, self.top, self.bottom = right, top, bottom

    def block(self, xs: Array, ys: Array, r: float = 3.0) -> None:
        self.boxes += [(x - r, y - r, x + r, y + r) for x, y in zip(xs, ys, strict=True)]

    def place(self, x: float, y: float, text: str, look: str) -> str:
        w, h = len(text) * FONT * 0.56, FONT + 2.0
        for a, dx, dy in (("start", 9, 4), ("middle", 0, -12), ("middle", 0, 21), ("start", 9, -9), ("start", 9, 17),
                          ("end", -9, -9), ("end", -9, 17), ("end", -9, 4), ("middle", 0, -26), ("middle", 0, 34)):
            left = x + dx - {"start": 0.0, "middle": w / 2, "end": w}[a]
            box = (left, y + dy - h + 3, left + w, y + dy + 3)
            fits = left >= 2 and box[2] <= self.right and box[1] >= self.top and box[3] <= self.bottom
            if fits and not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in self.boxes):
                self.boxes.append(box)
                return f'<text class="{look}" x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{a}">{safe(text)}</text>'
        return ""


def _legend(entries: list[tuple[str, str]], width: float, left: float) -> tuple[str, float]:
    """(markup, height) of a legend that flows over as many rows as it needs; an entry is (sample's markup, text)."""
    x, y, out = left, 16.0, []
    for sample, text in entries:
        w = 34 + len(text) * FONT * 0.56 + 14
        if x + w > width and x > left:
            x, y = left, y + 20
        out.append(f'<g transform="translate({x:.1f},{y:.1f})">{sample}<text x="32" y="4">{safe(text)}</text></g>')
        x += w
    return "".join(out), (y + 14 if entries else 4)


def chart(curves: list[Curve], marks: list[Mark], *, ident: str, title: str, description: str, x_label: str, y_label: str,
          width: int = 860, height: int = 430, legend: list[tuple[str, str]] | None = None, kl_row: bool = False,
          second: tuple[float, str] | None = None, y_range: tuple[float, float] | None = None, zero: str | None = None,
          alone: bool = False) -> str:
    """An accessible SVG. `kl_row`: x is √KL, and KL itself stands below. `second`: (factor, label) of a right-hand axis
    that shows y/factor. `zero`: what the line at 0 is called. `alone`: with its own style and background."""
    key, top = _legend(legend or [], width, 8)
    top += 20
    left, right, bottom = 50.0, width - (48.0 if second else 14.0), height - (52.0 if kl_row else 38.0)
    drawn = [c for c in curves if len(c.x)]
    x1 = max([float(np.nanmax(c.x)) for c in drawn] + [m.x for m in marks] + [1e-9])
    x0 = min([0.0] + [float(np.nanmin(c.x)) for c in drawn])
    y0, y1 = y_range or _range(drawn, marks, zero is not None)

    def px(x: Array | float) -> Array:
        return np.asarray(left + 6 + (np.asarray(x, dtype=float) - x0) / (x1 - x0) * (right - left - 18))

    def py(y: Array | float) -> Array:
        return np.asarray(bottom - (np.asarray(y, dtype=float) - y0) / (y1 - y0) * (bottom - top))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" role="img" '
           f'aria-labelledby="{ident}-t {ident}-d"><title id="{ident}-t">{safe(title)}</title><desc id="{ident}-d">{safe(description)}</desc>']
    if alone:
        out.append(f'<style>{STYLE}</style><rect class="paper" width="{width}" height="{height}"/>')
    out.append(f'<clipPath id="{ident}-c"><rect x="{left}" y="{top - 4}" width="{right - left}" height="{bottom - top + 8}"/></clipPath>{key}')
    for t in ticks(y0, y1, max(3, round((bottom - top) / 55))):
        y = float(py(t))
        out.append(f'<path class="grid" d="M{left},{y:.1f}H{right}"/><text class="tick" x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">'
                   f'{number(t)}</text>')
    for t in ticks(y0 / second[0], y1 / second[0], 5) if second else []:
        out.append(f'<text class="tick" x="{right + 7}" y="{float(py(t * second[0])) + 4:.1f}">{number(t)}</text>' if second else "")
    for t in ticks(x0, x1, max(3, round((right - left) / 90))):
        x = float(px(t))
        out.append(f'<path class="axis" d="M{x:.1f},{bottom}v5"/><text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">'
                   f'{number(t)}</text>')
        if kl_row:
            out.append(f'<text class="tick faint" x="{x:.1f}" y="{bottom + 33}" text-anchor="middle">{number(t * t)}</text>')
    out.append(f'<path class="axis" d="M{left},{bottom}H{right}"/><text class="label" x="6" y="{top - 9}">{safe(y_label)}</text>')
    if second:
        out.append(f'<text class="label" x="{width - 6}" y="{top - 9}" text-anchor="end">{safe(second[1])}</text>')
    out.append(f'<text class="label" x="{right}" y="{height - 5}" text-anchor="end">{safe(x_label)}</text>')
    if kl_row:
        out.append(f'<text class="tick" x="6" y="{bottom + 18}">√KL</text><text class="tick faint" x="6" y="{bottom + 33}">KL</text>')
    labels = _Labels(right, top, bottom)
    if zero is not None and y0 < 0 < y1:
        out.append(f'<path class="zero" d="M{left},{float(py(0)):.1f}H{right}"/>')
    body, heads = [], []
    for c in drawn:
        if c.low is not None and c.high is not None:
            ok = np.isfinite(c.low) & np.isfinite(c.high)
            xs, lo, hi = px(c.x[ok]), py(c.low[ok]), py(c.high[ok])
            body.append(f'<path class="band c{c.place % COLOURS}" d="{_d(np.r_[xs, xs[::-1]], np.r_[hi, lo[::-1]])}Z"/>' if ok.sum() > 1 else "")
    for role in ("seed", "fit", "other", "proxy", "points", "gold"):
        for c in (c for c in drawn if c.role == role):
            xs, ys = px(c.x), py(c.y)
            if role != "points":
                body.append(f'<path class="line {role} c{c.place % COLOURS}" d="{_d(xs, ys)}"/>')
            last = -1e9
            shown = []
            for i, kind in enumerate(c.kinds):
                if role == "points" or abs(xs[i] - last) >= 24 or i == len(xs) - 1:
                    shown.append(marker(float(xs[i]), float(ys[i]), c.place, 3.4 if role == "points" else 4, kind))
                    last = xs[i]
            body.append(f'<g class="c{c.place % COLOURS}">{"".join(shown)}</g>' if shown else "")
            if role in ("gold", "proxy"):
                dense = np.linspace(xs[0], xs[-1], 80) if (np.diff(xs) >= 0).all() and len(xs) > 1 else xs
                labels.block(dense, np.interp(dense, xs, ys) if len(dense) == 80 else ys)
    for m in marks:
        x, y = float(px(m.x)), float(py(m.y))
        bar = "" if m.half is None else f'<path class="bar" d="M{x:.1f},{float(py(m.y - m.half)):.1f}V{float(py(m.y + m.half)):.1f}"/>'
        heads.append(f'<g class="c{m.place % COLOURS}">{bar}' + (_star(x, y) if m.kind == "star" else
                     f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="8"/>') + "</g>")
        labels.block(np.array([x]), np.array([y]), 8.0)
    out.append(f'<g clip-path="url(#{ident}-c)">{"".join(body)}{"".join(heads)}</g>')
    for m in marks:
        if m.text:
            out.append(labels.place(float(px(m.x)), float(py(m.y)), m.text, f"mark t{m.place % COLOURS}"))
    for c in drawn:
        if c.label and np.isfinite(c.y[-1]):
            out.append(labels.place(float(px(c.x[-1])), float(py(c.y[-1])), c.label, f"end t{c.place % COLOURS} {c.role}"))
    if zero and y0 < 0 < y1:
        out.append(labels.place(right - 4, float(py(0)) - 1, zero, "tick faint"))
    return "".join(out) + "</svg>"
