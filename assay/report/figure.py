"""The figures: gold and proxy against √KL, against the step where there is no KL, judge by judge, and Gao's forms."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assay.errors import InputError
from assay.report.chart import Curve, Mark, chart, marker
from assay.report.escape import number
from assay.report.fits import Fit, interval, reference
from assay.report.lines import KINDS, Line, Value, above, gold_units, line, points
from assay.report.records import Ground, Method, grounds

_KIND_SAYS = {"exact": "KL exact", "sampled": "KL sampled", "upper": "KL an upper bound"}


@dataclass
class Picture:
    """A figure in two sizes, wide and for a phone, and what stands below it."""

    wide: str
    narrow: str
    caption: list[str]


def _sample(place: int, role: str = "gold", kind: str | None = "exact", colour: str | None = None) -> str:
    """A legend's sample: a piece of line with its marker."""
    stroke = f'<path class="line {role}" d="M0,0H26"/>' if role != "none" else ""
    return f'<g class="{colour or f"c{place % 7}"}">{stroke}{"" if kind is None else marker(13, 0, place, kind=kind)}</g>'


def _on(ground: Ground, axis: str) -> list[Method]:
    """The methods that this axis can show: by KL where any reading has one, else by step."""
    def has(m: Method) -> bool:
        return any(r["kl"] is not None and r["step"] > 0 for t in m.tracks for r in t.readings)
    return [m for m in ground.methods if has(m) == (axis == "kl") and any(t.readings for t in m.tracks)]


def _scale(gold: list[Line], proxy: list[Line], calibrated: bool) -> float:
    """The factor at which proxies are drawn: one, or a round one that keeps them from dwarfing gold."""
    if not proxy:
        return 1.0
    span = max((float(np.ptp(np.r_[g.y, 0.0])) for g in gold), default=0.0)
    most = max(float(np.abs(p.y).max()) for p in proxy)
    if not span or not most:
        return 1.0
    rounds = [m * 10.0**e for e in range(6, -7, -1) for m in (5, 2, 1)]
    return next((k for k in rounds if k * most <= 1.2 * span and (k <= 1 or not calibrated)), 1e-6)


def _seeds(method: Method, value: Value, axis: str) -> list[Curve]:
    if len(method.tracks) < 2:
        return []
    return [Curve(p[0], p[1], method.place, "seed") for t in method.tracks if len((p := points(t, value, axis))[0])]


def _marks(method: Method, gold: Line, axis: str) -> list[Mark]:
    """A ring at the curve's highest point; a star where chosen checkpoints were read again, pooled over seeds."""
    top = int(np.argmax(gold.y))
    again = []
    for t in method.tracks:
        start = reference(t.readings)
        if t.chosen and t.chosen["gold"] is not None and start and start["gold"] is not None and (axis == "step" or t.chosen["kl"] is not None):
            x = float(t.chosen["step"]) if axis == "step" else float(np.sqrt(max(0.0, t.chosen["kl"])))
            again.append((x, t.chosen["gold"] - start["gold"], t.chosen["gold_err"]))
    marks = [Mark(float(gold.x[top]), float(gold.y[top]), method.place, text="" if again else f"peak {number(float(gold.y[top]), sign=True)}")]
    if again:
        mean, half = interval([a[1] for a in again])
        if len(again) == 1 and again[0][2] is not None:
            half = 1.96 * again[0][2]
        marks.append(Mark(float(np.mean([a[0] for a in again])), mean, method.place, "star", half, f"peak {number(mean, sign=True)}"))
    return marks


def headline(ground: Ground, ident: str, axis: str = "kl", alone: bool = False, width: int = 860, height: int = 460) -> Picture | None:
    """Gold (solid) and proxy (dashed) of every method, on one axis. None where there is nothing to draw."""
    methods = _on(ground, axis)
    gold = {m.label: g for m in methods if (g := line(m, above("gold"), axis)) is not None}
    calibrated = bool(gold) and all(gold_units("proxy")(t) is not None for m in methods for t in m.tracks if any(
        r["proxy"] is not None for r in t.readings))
    value = above("proxy", unit=gold_units("proxy")) if calibrated else above("proxy")
    proxy = {m.label: p for m in methods if (p := line(m, value, axis)) is not None}
    if not gold and not proxy:
        return None
    k = _scale(list(gold.values()), list(proxy.values()), calibrated)
    curves: list[Curve] = []
    marks: list[Mark] = []
    for m in methods:
        if (g := gold.get(m.label)) is not None:
            curves += _seeds(m, above("gold"), axis)
            curves.append(Curve(g.x, g.y, m.place, "gold", g.low, g.high, g.kinds if axis == "kl" else ["exact"] * len(g.x), m.label))
            marks += _marks(m, g, axis)
        if (p := proxy.get(m.label)) is not None:
            curves.append(Curve(p.x, p.y * k, m.place, "proxy", label="" if gold else m.label))
    kinds = [kind for kind in KINDS if axis == "kl" and any(kind in g.kinds for g in gold.values())]
    legend = [(_sample(m.place), m.label) for m in methods]
    legend += [(_sample(0, "gold", None, "plain"), ground.gold_name)] if gold else []
    legend += [(_sample(0, "proxy", None, "plain"), "proxy")] if proxy else []
    legend += [(_sample(0, "none", kind, "plain"), _KIND_SAYS[kind]) for kind in kinds if kinds != ["exact"]]
    name = f"{ground.gold_name} above the reference" if gold else "proxy above its first reading"
    where = "√KL to the reference (√nats)" if axis == "kl" else "step"
    says = "; ".join(f"{label}: highest {number(float(g.y.max()), sign=True)} at {number(float(g.x[int(g.y.argmax())]))}, "
                     f"last {number(float(g.y[-1]), sign=True)}" for label, g in gold.items())

    def draw(w: int, h: int, suffix: str) -> str:
        return chart(curves, marks, ident=f"{ident}{suffix}", title=f"{ground.gold_name.capitalize()} and proxy against {where}, {ground.title}",
                     description=f"{name.capitalize()} by {where}. {says}. The same numbers are in the tables below.", x_label=where,
                     y_label=name, width=w, height=h, legend=legend, kl_row=axis == "kl", zero="reference" if gold else "first reading",
                     second=(k, "proxy") if proxy and gold and k != 1 else None, alone=alone)

    return Picture(draw(width, height, "w"), draw(380, 440, "n"), _caption(ground, methods, gold, bool(proxy), calibrated, k, kinds))


def _caption(ground: Ground, methods: list[Method], gold: dict[str, Line], proxy: bool, calibrated: bool, k: float, kinds: list[str]) -> list[str]:
    starts = [r["gold"] for m in methods for t in m.tracks if (r := reference(t.readings)) and r["gold"] is not None]
    name, said = ground.gold_name, []
    if gold:
        at = f" (its own is {number(float(np.mean(starts)))})" if starts else ""
        said.append(f"Solid: {name} above the reference{at}, kind: {ground.gold_kind or 'not said'}. A ring marks the highest point of a curve, a "
                    f"star the chosen checkpoint read again on fresh answers, which is the fairer number.")
    if proxy and calibrated:
        said.append(f"Dashed: each method's own proxy, moved to 0 where it was first read and scaled there to {name}'s spread between prompts"
                    + (f"; drawn at {number(k)} of that scale, which the right-hand axis undoes." if k != 1 else "."))
    elif proxy:
        said.append("Dashed: each method's own proxy in its own units, moved to 0 where it was first read"
                    + (f"; {name}'s units times {number(1 / k)} on the right-hand axis." if gold and k != 1 else "."))
    seeds = sorted({g.seeds for g in gold.values()})
    if any(s == 1 for s in seeds):
        said.append("One seed: the band is each reading's 95 % interval over prompts.")
    if any(s == 2 for s in seeds):
        said.append("Two seeds: their mean, and both of them faint; no interval.")
    if any(s > 2 for s in seeds):
        said.append("Several seeds: the mean over the range of KL that all of them reached, the 95 % Student interval over seeds as a band, "
                    "each seed faint.")
    if "upper" in kinds:
        said.append("An arrow to the left marks a KL that is an upper bound.")
    return said


def multiples(ground: Ground, ident: str, key: str, names: Sequence[str]) -> Picture | None:
    """One small chart for each judge (key "judges") or each gold ("golds"): every method, beside its gold."""
    axis = "kl" if _on(ground, "kl") else "step"
    methods = _on(ground, axis)
    width = max((len(r[key]) for t in ground.tracks for r in t.readings if r[key]), default=0)
    calibrated = key == "judges" and all(gold_units(key, j)(t) is not None for j in range(width) for m in methods for t in m.tracks)
    gold = [(m, g) for m in methods if key == "judges" and (g := line(m, above("gold"), axis)) is not None]
    charts = []
    for j in range(width):
        value = above(key, j, gold_units(key, j)) if calibrated else above(key, j)
        mine = [(m, p) for m in methods if (p := line(m, value, axis)) is not None]
        name = names[j] if j < len(names) else f"{key[:-1]} {j + 1}"
        curves = [Curve(g.x, g.y, m.place, "gold") for m, g in gold if calibrated]
        curves += [Curve(p.x, p.y, m.place, "proxy" if key == "judges" else "gold", p.low, p.high) for m, p in mine]
        charts.append(chart(curves, [], ident=f"{ident}{j}", title=f"{name} against {axis}", y_label=str(name), zero="",
                            description="; ".join(f"{m.label} ends at {number(float(p.y[-1]), sign=True)}" for m, p in mine) or "nothing read",
                            x_label="√KL" if axis == "kl" else "step", width=300, height=220) if mine else "")
    legend = ", ".join(m.label for m in methods)
    return Picture("".join(charts), "", [legend, "calibrated" if calibrated else "raw"]) if any(charts) else None


def fitted(method: Method, fits: Sequence[Fit], ident: str) -> str:
    """A method's readings with its own form (solid) and the other one (dotted)."""
    curves = []
    for t in method.tracks:
        x, y, _, kinds = points(t, above("gold"), "kl")
        curves.append(Curve(x, y, method.place, "points", kinds=kinds))
    for f, role in zip(fits, ("fit", "other"), strict=False):
        grid = np.linspace(0.0, f.range[1], 80)
        curves.append(Curve(grid, f(grid), method.place, role))
    right = fits[0]
    inside = right.d_peak is not None and right.r_peak is not None and right.d_peak <= right.range[1]
    marks = [Mark(right.d_peak, right.r_peak, method.place)] if inside and right.d_peak is not None and right.r_peak is not None else []
    return chart(curves, marks, ident=ident, title=f"Gao's forms fitted to {method.label}", y_label=method.label, x_label="√KL (√nats)",
                 description=f"alpha {number(right.alpha)}, beta {number(right.beta)}", width=380, height=260, zero="")


def svg(folders: Sequence[Path | str], *, world: int = 0, width: int = 860, height: int = 460) -> str:
    """The headline figure alone, as a file for a README: its own style, light and dark. `world`: which, where runs of
    several were given. Raises InputError where nothing was read."""
    places = grounds(folders)
    drawn = headline(places[world], "assay", alone=True, width=width, height=height) or headline(
        places[world], "assay", "step", alone=True, width=width, height=height)
    if drawn is None:
        raise InputError("there is nothing to draw: no run given has a reading of gold or of a proxy")
    return drawn.wide
