"""The project's face: gold and proxy against √KL, every method on one axis; against the step where
there is no KL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from assay.data.escape import capital, number
from assay.errors import InputError
from assay.records.methods import Ground, Method, grounds
from assay.report.chart import COLOURS, Curve, Mark, chart, marker
from assay.report.fits import reference, rise
from assay.report.lines import KINDS, Line, Value, above, gold_units, line, points
from assay.stats.curve_fit import interval

_KIND_SAYS = {
    "exact": "KL exact",
    "sampled": "KL sampled",
    "upper": "KL an upper bound",
    "unknown": "KL of a kind not recorded",
}


@dataclass
class Picture:
    """A figure in two sizes, wide and for a phone, and what stands below it."""

    wide: str
    narrow: str
    caption: str


def on_axis(ground: Ground, axis: str) -> list[Method]:
    """The methods that this axis can show: "kl" where any reading has one, else "step"."""

    def measured(m: Method) -> bool:
        return any(r["kl"] is not None and r["step"] > 0 for t in m.tracks for r in t.readings)

    return [
        m
        for m in ground.methods
        if measured(m) == (axis == "kl") and any(t.readings for t in m.tracks)
    ]


def _sample(
    place: int, role: str = "gold", kind: str | None = "exact", colour: str | None = None
) -> str:
    """A legend's sample: a piece of line with its marker."""
    stroke = f'<path class="line {role}" d="M0,0H26"/>' if role else ""
    return f'<g class="{colour or f"c{place % COLOURS}"}">{stroke}{marker(13, 0, place, kind=kind) if kind else ""}</g>'


def _scale(gold: Sequence[Line], proxy: Sequence[Line], calibrated: bool) -> Fraction:
    """The factor at which proxies are drawn: a round one that keeps them from dwarfing gold, one if
    it can be.
    """
    span = max((float(np.ptp(np.r_[g.y, 0.0])) for g in gold), default=0.0)
    most = max((float(np.abs(p.y).max()) for p in proxy), default=0.0)
    if not span or not most:
        return Fraction(1)
    rounds = [m * Fraction(10) ** e for e in range(6, -7, -1) for m in (5, 2, 1)]
    return next(
        (k for k in rounds if float(k) * most <= 1.2 * span and (k <= 1 or not calibrated)),
        Fraction(1),
    )


def _seeds(method: Method, value: Value, axis: str) -> list[Curve]:
    if len(method.tracks) < 2:
        return []
    return [
        Curve(p[0], p[1], method.place, "seed")
        for t in method.tracks
        if len((p := points(t, value, axis))[0])
    ]


def _marks(method: Method, gold: Line, axis: str) -> list[Mark]:
    """A ring at the curve's highest point; a star where chosen checkpoints were read again, pooled
    over seeds.
    """
    again = []
    for t in method.tracks:
        rose, c = rise(t.everything), t.chosen
        x = None if c is None else c["step"] if axis == "step" else c["kl"]
        if c and x is not None and c["gold"] is not None and rose is not None:
            again.append(
                (float(x) if axis == "step" else float(np.sqrt(max(0.0, x))), rose, c["gold_err"])
            )
    top = int(np.argmax(gold.y))
    height = float(gold.y[top])
    if not again:
        return [
            Mark(float(gold.x[top]), height, method.place, text=f"peak {number(height, sign=True)}")
        ]
    mean, half = interval([a[1] for a in again])
    if len(again) == 1 and again[0][2] is not None:
        half = 1.96 * again[0][2]
    star = Mark(
        float(np.mean([a[0] for a in again])),
        mean,
        method.place,
        "star",
        half,
        f"peak {number(mean, sign=True)}",
    )
    return [Mark(float(gold.x[top]), height, method.place), star]


def headline(
    ground: Ground,
    ident: str,
    axis: str = "kl",
    *,
    alone: bool = False,
    width: int = 860,
    height: int = 470,
) -> Picture | None:
    """Gold (solid) and proxy (dashed) of every method, on one axis. None where there is nothing to
    draw.
    """
    methods = on_axis(ground, axis)
    gold = {m.label: g for m in methods if (g := line(m, above("gold"), axis))}
    read = [t for m in methods for t in m.tracks if any(r["proxy"] is not None for r in t.readings)]
    calibrated = bool(gold) and all(gold_units("proxy")(t) is not None for t in read)
    value = above("proxy", unit=gold_units("proxy")) if calibrated else above("proxy")
    proxy = {m.label: p for m in methods if (p := line(m, value, axis))}
    if not gold and not proxy:
        return None
    k = _scale(list(gold.values()), list(proxy.values()), calibrated)
    highest = max(proxy, key=lambda name: float(proxy[name].y[-1]), default=None)
    curves: list[Curve] = []
    marks: list[Mark] = []
    for m in methods:
        if m.label in gold:
            g = gold[m.label]
            kinds = g.kinds if axis == "kl" else ["exact"] * len(g.x)
            curves += [
                *_seeds(m, above("gold"), axis),
                Curve(g.x, g.y, m.place, "gold", g.low, g.high, kinds, m.label),
            ]
            marks += _marks(m, g, axis)
        if m.label in proxy:
            p = proxy[m.label]
            text = m.label if not gold else "proxy" if m.label == highest else ""
            curves.append(Curve(p.x, p.y * float(k), m.place, "proxy", label=text))
    kinds = [kind for kind in KINDS if axis == "kl" and any(kind in g.kinds for g in gold.values())]
    legend = [(_sample(m.place), m.label) for m in methods]
    legend += [
        (_sample(0, role, None, "plain"), text)
        for role, text, there in (("gold", ground.gold_name, gold), ("proxy", "proxy", proxy))
        if there
    ]
    legend += [
        (_sample(0, "", kind, "plain"), _KIND_SAYS[kind]) for kind in kinds if kinds != ["exact"]
    ]
    where = "√KL to the reference (√nats)" if axis == "kl" else "step"
    name = f"{ground.gold_name} above the reference" if gold else "proxy above its first reading"
    ends = "; ".join(
        f"{label}: highest {number(float(g.y.max()), sign=True)} at "
        f"{number(float(g.x[int(g.y.argmax())]))}, last {number(float(g.y[-1]), sign=True)}"
        for label, g in gold.items()
    )

    def draw(w: int, h: int, size: str) -> str:
        return chart(
            curves,
            marks,
            ident=f"{ident}{size}",
            width=w,
            height=h,
            legend=legend,
            kl_row=axis == "kl",
            alone=alone,
            title=f"{capital(name)}, by {where}, {ground.title}",
            x_label=where,
            y_label=name,
            description=f"One curve a method. {ends}. The tables below hold the same numbers.",
            second=(float(k), "proxy") if gold and proxy and k != 1 else None,
            zero="reference" if gold else "first reading",
        )

    return Picture(
        draw(width, height, "w"),
        draw(380, 460, "n"),
        caption(ground, methods, gold, bool(proxy), calibrated, k, kinds),
    )


def caption(
    ground: Ground,
    methods: Sequence[Method],
    gold: dict[str, Line],
    proxy: bool,
    calibrated: bool,
    k: Fraction,
    kinds: Sequence[str],
) -> str:
    """What is drawn and how it was scaled, in sentences that are true of this figure."""
    name, said = ground.gold_name, []
    starts = [
        r["gold"]
        for m in methods
        for t in m.tracks
        if (r := reference(t.readings)) and r["gold"] is not None
    ]
    if gold:
        at = f" (itself at {number(float(np.mean(starts)))})" if starts else ""
        said.append(
            f"Solid: {name} above the reference{at}. A ring marks a curve’s highest point; a "
            "star, the chosen checkpoint read again on fresh answers, which is the fairer number."
        )
    if proxy and calibrated:
        said.append(
            "Dashed: each method’s own proxy, 0 where it was first read, scaled there to "
            f"{name}’s spread between prompts"
            + (
                f" and drawn at {k} of that; the right-hand axis has it in {name}’s units."
                if k != 1
                else "."
            )
        )
    elif proxy:
        said.append(
            "Dashed: each method’s own proxy, 0 where it was first read, in its own units"
            + (" (right-hand axis)." if gold and k != 1 else ".")
        )
    seeds = {g.seeds for g in gold.values()}
    said += (
        ["One seed: the band is each reading’s 95 % interval over prompts."] if 1 in seeds else []
    )
    said += ["Two seeds: their mean, each of them faint, no interval."] if 2 in seeds else []
    said += (
        [
            "Several seeds: their mean, up to the KL that all of them reached, its 95 % Student "
            "interval over seeds as a band, each seed faint."
        ]
        if seeds - {1, 2}
        else []
    )
    said += ["An arrow to the left: this KL is an upper bound."] if "upper" in kinds else []
    return " ".join(said)


def svg(
    folders: Sequence[Path | str], *, world: int = 0, width: int = 860, height: int = 470
) -> str:
    """The headline figure alone, as a file for a README: its own style, light and dark. `world`:
    which one, where the runs are from several. Raises InputError where nothing was read.
    """
    places = grounds(folders)
    for axis in ("kl", "step"):
        if drawn := headline(places[world], "assay", axis, alone=True, width=width, height=height):
            return drawn.wide
    raise InputError("there is nothing to draw: no run given has a reading of gold or of a proxy")
