"""The headline: gold and proxy of every method against √KL, or against the step without KL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from assay.data.escape import capital, number
from assay.errors import InputError
from assay.records.methods import Ground, Method, grounds
from assay.report.chart import Chart, chart
from assay.report.curves import Curve, Mark
from assay.report.lines import KINDS, ONE_SEED, Line, Value, above, gold_units, line, points
from assay.stats.intervals import interval
from assay.stats.readings import reference, rise

STAR = "the best checkpoint read again on fresh completions, which is the fairer number"


@dataclass
class Picture:
    """A figure in two sizes, and what stands below it.

    Attributes:
        wide: For a screen or a printed page.
        narrow: For a phone.
        caption: What is drawn and how it was scaled.
    """

    wide: Chart
    narrow: Chart
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


def _scale(gold: Sequence[Line], proxy: Sequence[Line], calibrated: bool) -> Fraction:
    """The factor at which proxies are drawn: a round one that keeps them from dwarfing gold."""
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
        Curve(p[0], p[1], method.place, "seed", method=method.label)
        for t in method.tracks
        if len((p := points(t, value, axis))[0])
    ]


def _marks(method: Method, gold: Line, axis: str) -> list[Mark]:
    """A ring at the curve's highest point; a star where best checkpoints were read again."""
    again = []
    for t in method.tracks:
        rose, c = rise(t.everything), t.best
        x = None if c is None else c["step"] if axis == "step" else c["kl"]
        if c and x is not None and c["gold"] is not None and rose is not None:
            again.append(
                (float(x) if axis == "step" else float(np.sqrt(max(0.0, x))), rose, c["gold_err"])
            )
    top = int(np.argmax(gold.y))
    height = float(gold.y[top])
    ring = Mark(float(gold.x[top]), height, method.place, method=method.label)
    if not again:
        ring.text = f"peak {number(height, sign=True)}"
        return [ring]
    mean, half = interval([a[1] for a in again])
    if len(again) == 1 and again[0][2] is not None:
        half = 1.96 * again[0][2]
    words = f"peak {number(mean, sign=True)}"
    return [
        ring,
        Mark(
            float(np.mean([a[0] for a in again])),
            mean,
            method.place,
            "star",
            half,
            words,
            method.label,
        ),
    ]


def headline(
    ground: Ground, ident: str, axis: str = "kl", *, width: int = 790, height: int = 360
) -> Picture | None:
    """Gold (solid) and proxy (dashed) of every method, on one axis.

    Args:
        ground: The world.
        ident: The beginning of the charts' ids.
        axis: "kl" for √KL, or "step".
        width: Of the wide chart's plot, in pixels.
        height: Of the wide chart's plot.

    Returns:
        The figure; None where there is nothing to draw.
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
    curves, marks = _drawn(methods, gold, proxy, float(k), axis, ground.gold_name)
    kinds = [kind for kind in KINDS if axis == "kl" and any(kind in g.kinds for g in gold.values())]
    where = "√KL to the reference (√nats)" if axis == "kl" else "step"
    name = f"{ground.gold_name} above the reference" if gold else "proxy above its first reading"
    ends = "; ".join(
        f"{label}: highest {number(float(g.y.max()), sign=True)} at "
        f"{number(float(g.x[int(g.y.argmax())]))}, "
        f"last {number(float(g.y[-1]), sign=True)}"
        for label, g in gold.items()
    )
    roles = [
        (role, words)
        for role, words, there in (("gold", ground.gold_name, gold), ("proxy", "proxy", proxy))
        if there
    ]

    def draw(w: int, h: int, size: str) -> Chart:
        return chart(
            curves,
            marks,
            ident=f"{ident}{size}",
            title=f"{capital(name)}, by {where}, {ground.title}",
            description=f"One curve a method. {ends}. The tables below hold the same numbers.",
            x_label=where + ("; below it, KL (nats)" if axis == "kl" and w > 500 else ""),
            y_label=name,
            width=w,
            height=h,
            roles=roles,
            kl_row=axis == "kl",
            second=(float(k), "proxy") if gold and proxy and k != 1 else None,
            zero="reference" if gold else "first reading",
        )

    said = caption(ground, methods, gold, bool(proxy), calibrated, k, kinds)
    return Picture(draw(width, height, "w"), draw(310, 330, "n"), said)


def _drawn(
    methods: Sequence[Method],
    gold: dict[str, Line],
    proxy: dict[str, Line],
    k: float,
    axis: str,
    name: str,
) -> tuple[list[Curve], list[Mark]]:
    """The curves and marks of the headline; proxies are drawn k times as high as measured."""
    curves: list[Curve] = []
    marks: list[Mark] = []
    highest = max(proxy, key=lambda label: float(proxy[label].y[-1]), default=None)
    for m in methods:
        if g := gold.get(m.label):
            kinds = g.kinds if axis == "kl" else ["exact"] * len(g.x)
            curves += _seeds(m, above("gold"), axis)
            curves.append(
                Curve(
                    g.x,
                    g.y,
                    m.place,
                    "gold",
                    g.low,
                    g.high,
                    kinds,
                    m.label,
                    value=name,
                    method=m.label,
                )
            )
            marks += _marks(m, g, axis)
        if p := proxy.get(m.label):
            words = m.label if not gold else "proxy" if m.label == highest else ""
            curves.append(
                Curve(
                    p.x,
                    p.y * k,
                    m.place,
                    "proxy",
                    label=words,
                    value="proxy",
                    scale=k,
                    method=m.label,
                )
            )
    return curves, marks


def caption(
    ground: Ground,
    methods: Sequence[Method],
    gold: dict[str, Line],
    proxy: bool,
    calibrated: bool,
    k: Fraction,
    kinds: Sequence[str],
) -> str:
    """What is drawn and how it was scaled, in sentences that are true of this figure;
    `gold` has the solid lines by method, `k` scales the dashed ones, `kinds` are the KL's.
    """
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
            f"Solid: {name} above the reference{at}. A ring marks a curve’s highest point"
            + ("; a star, " + STAR if any(t.best for m in methods for t in m.tracks) else "")
            + "."
        )
    if proxy and calibrated:
        said.append(
            "Dashed: each method’s own proxy, 0 where it was first read, scaled there to "
            f"{name}’s spread between "
            "prompts"
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
    said += [ONE_SEED] if 1 in seeds else []
    if any(g.band_is_wide for g in gold.values()):
        said.append(
            "A band is wider than all that its curve moves, and the axis makes room for it."
        )
    said += ["Two seeds: their mean, each of them faint, no interval."] if 2 in seeds else []
    if seeds - {1, 2}:
        said.append(
            "Several seeds: their mean, up to the KL that all of them reached, its 95 % Student "
            "interval over seeds as a band, each seed faint."
        )
    said += ["An arrow to the left: this KL is an upper bound."] if "upper" in kinds else []
    return " ".join(said)


@np.errstate(all="ignore")  # what is not finite is not drawn
def svg(
    folders: Sequence[Path | str], *, world: int = 0, width: int = 790, height: int = 360
) -> str:
    """The headline figure as a file for a README: a still with its own style, light and dark.

    Args:
        folders: Run folders.
        world: Which world, where the runs are from several.
        width: Of the plot, in pixels.
        height: Of the plot.

    Returns:
        SVG.

    Raises:
        InputError: Nothing was read in these runs.
    """
    places = grounds(folders)
    for axis in ("kl", "step"):
        if drawn := headline(places[world], "assay", axis, width=width, height=height):
            return drawn.wide.still(alone=True)
    raise InputError("there is nothing to draw: no run given has a reading of gold or of a proxy")
