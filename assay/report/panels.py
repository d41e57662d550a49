"""Small charts: reward models and golds one by one, and Gao's forms beside their readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay.data.escape import number
from assay.records.methods import Ground, Method
from assay.report.chart import Chart, chart
from assay.report.curves import Curve, Mark, y_range
from assay.report.figure import on_axis
from assay.report.lines import above, gold_units, line, points
from assay.report.table import Cell, named
from assay.stats.curve_fit import Fit


@dataclass
class Multiples:
    """A row of small charts.

    Attributes:
        heading: What they show.
        how: How they are scaled.
        legend: The methods in them.
        charts: One a reward model or a gold.
    """

    heading: str
    how: str
    legend: list[Cell]
    charts: list[Chart]


def multiples(ground: Ground, ident: str, key: str) -> Multiples | None:
    """One small chart for each reward model or gold, every method in it.

    Args:
        ground: The world.
        ident: The beginning of the charts' ids.
        key: "rewards" or "golds": which column of the readings.

    Returns:
        The row; None where there is nothing to show, or only the one gold that the headline shows.
    """
    axis = "kl" if on_axis(ground, "kl") else "step"
    methods = on_axis(ground, axis)
    width = max((len(r[key]) for t in ground.tracks for r in t.readings if r[key]), default=0)
    if not width or (key == "golds" and width < 2):
        return None
    read = [t for m in methods for t in m.tracks if any(r[key] for r in t.readings)]
    units = key == "rewards" and all(
        gold_units(key, j)(t) is not None
        for t in read
        for j in range(len(t.readings[0][key] or []))
    )
    names = ground.golds
    if key == "rewards":
        names = max((list(t.about.get("rewards") or []) for t in read), key=len, default=[])
    what, role = ("reward model", "proxy") if key == "rewards" else ("gold", "gold")
    gold = [
        Curve(g.x, g.y, m.place, "gold", method=m.label, value=ground.gold_name)
        for m in methods
        if units and (g := line(m, above("gold"), axis))
    ]
    cells = []
    for j in range(width):
        value = above(key, j, gold_units(key, j)) if units else above(key, j)
        name = str(names[j]) if j < len(names) else f"{what} {j + 1}"
        mine = [(m, p) for m in methods if (p := line(m, value, axis))]
        curves = [
            Curve(p.x, p.y, m.place, role, p.low, p.high, method=m.label, value=name)
            for m, p in mine
        ]
        says = "; ".join(f"{m.label} ends at {number(float(p.y[-1]), sign=True)}" for m, p in mine)
        cells.append((name, gold + curves, says or "Nothing was read"))
    every = [c for _, curves, _ in cells for c in curves]
    same = y_range(every, whole_bands=True) if units or key == "golds" else None
    x_label = "√KL" if axis == "kl" else "step"
    charts = [
        chart(
            curves,
            ident=f"{ident}{i}",
            title=f"{name} by {x_label}",
            description=says,
            x_label=x_label,
            y_label=name,
            width=250,
            height=160,
            y=same or y_range(curves, whole_bands=True),
            zero="",
        )
        for i, (name, curves, says) in enumerate(cells)
    ]
    how = "All on one scale."
    if key == "rewards":
        how = (
            f"Dashed: the reward model, scaled to {ground.gold_name}’s spread between prompts; "
            f"solid: {ground.gold_name}."
            if units
            else "Each in its own units."
        )
    heading = "Reward models, one by one" if key == "rewards" else "Golds, one by one"
    return Multiples(heading, f"{how} 0 is the reference.", [named(m) for m in methods], charts)


def fitted(method: Method, fits: Sequence[Fit], ident: str) -> Chart:
    """A method's readings, its own form (solid, a ring at its peak) and the other one (dotted).

    Args:
        method: The method.
        fits: Its own form and then the other one.
        ident: The chart's name in the page.
    """

    curves = []
    for t in method.tracks:
        x, y, _, kinds = points(t, above("gold"), "kl")
        curves.append(
            Curve(
                x,
                y,
                method.place,
                "points",
                kinds=kinds,
                value="above the reference",
                method=method.label,
            )
        )
    for f, role in zip(fits, ("fit", "other"), strict=True):
        grid = np.linspace(0.0, f.range[1], 80)
        curves.append(Curve(grid, f(grid), method.place, role, method=method.label))
    right = fits[0]
    top = []
    if right.d_peak is not None and right.r_peak is not None and right.d_peak <= right.range[1]:
        top = [Mark(right.d_peak, right.r_peak, method.place, method=method.label)]
    return chart(
        curves,
        top,
        ident=ident,
        title=f"Gao’s forms fitted to {method.label}",
        x_label="√KL (√nats)",
        y_label=method.label,
        width=320,
        height=190,
        zero="",
        description=f"α {number(right.alpha)}, β {number(right.beta)}, {right.points} readings",
    )
