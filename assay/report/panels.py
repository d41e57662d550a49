"""Small multiples: judges and golds one by one, and Gao's forms beside the readings they were
fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.data.escape import number, safe
from assay.records.methods import Ground, Method
from assay.report.chart import Curve, Mark, chart, y_range
from assay.report.figure import on_axis
from assay.report.lines import above, gold_units, line, points
from assay.report.tables import name
from assay.stats.curve_fit import Fit


def multiples(ground: Ground, ident: str, key: str) -> str:
    """One small chart for each judge (key "rewards") or gold ("golds"), every method in it, judges
    beside gold; all charts of a row share one range. "" where there is nothing to show, or only the
    one gold that stands above.
    """
    axis = "kl" if on_axis(ground, "kl") else "step"
    methods = on_axis(ground, axis)
    width = max((len(r[key]) for t in ground.tracks for r in t.readings if r[key]), default=0)
    if not width or (key == "golds" and width < 2):
        return ""
    read = [t for m in methods for t in m.tracks if any(r[key] for r in t.readings)]
    units = key == "rewards" and all(
        gold_units(key, j)(t) is not None
        for t in read
        for j in range(len(t.readings[0][key] or []))
    )
    names = (
        ground.golds
        if key == "golds"
        else max((list(t.about.get("rewards") or []) for t in read), key=len, default=[])
    )
    gold = [
        Curve(g.x, g.y, m.place, "gold")
        for m in methods
        if units and (g := line(m, above("gold"), axis))
    ]
    cells = []
    for j in range(width):
        value = above(key, j, gold_units(key, j)) if units else above(key, j)
        mine = [(m, p) for m in methods if (p := line(m, value, axis))]
        curves = [
            Curve(p.x, p.y, m.place, "proxy" if key == "rewards" else "gold", p.low, p.high)
            for m, p in mine
        ]
        says = (
            "; ".join(f"{m.label} ends at {number(float(p.y[-1]), sign=True)}" for m, p in mine)
            or "Nothing was read"
        )
        cells.append(
            (str(names[j]) if j < len(names) else f"{key[:-1]} {j + 1}", gold + curves, says)
        )
    same = (
        y_range([c for _, curves, _ in cells for c in curves]) if units or key == "golds" else None
    )
    x_label = "√KL" if axis == "kl" else "step"
    charts = "".join(
        chart(
            curves,
            ident=f"{ident}{i}",
            title=f"{what} by {x_label}",
            description=says,
            y_label=what,
            y=same,
            x_label=x_label,
            zero="",
            width=300,
            height=230,
        )
        for i, (what, curves, says) in enumerate(cells)
    )
    how = (
        f"Dashed: the judge, scaled to {ground.gold_name}’s spread between prompts; solid: "
        f"{ground.gold_name}."
        if units
        else "Each in its own units."
        if key == "rewards"
        else "All on one scale."
    )
    legend = " ".join(f'<span class="entry">{name(m)}</span>' for m in methods)
    return (
        f"<h3>{'Judges' if key == 'rewards' else 'Golds'}, one by one</h3><p>{safe(how)} 0 is the "
        f"reference. {legend}</p>"
        f'<div class="multiples">{charts}</div>'
    )


def fitted(method: Method, fits: Sequence[Fit], ident: str) -> str:
    """A method's readings with its own form (solid) and the other one (dotted), a ring at its own
    form's peak.
    """
    curves = []
    for t in method.tracks:
        x, y, _, kinds = points(t, above("gold"), "kl")
        curves.append(Curve(x, y, method.place, "points", kinds=kinds))
    for f, role in zip(fits, ("fit", "other"), strict=True):
        grid = np.linspace(0.0, f.range[1], 80)
        curves.append(Curve(grid, f(grid), method.place, role))
    right = fits[0]
    top = []
    if right.d_peak is not None and right.r_peak is not None and right.d_peak <= right.range[1]:
        top = [Mark(right.d_peak, right.r_peak, method.place)]
    return chart(
        curves,
        top,
        ident=ident,
        title=f"Gao’s forms fitted to {method.label}",
        y_label=method.label,
        x_label="√KL (√nats)",
        width=380,
        height=260,
        zero="",
        description=f"alpha {number(right.alpha)}, beta {number(right.beta)}, {right.points} "
        "readings",
    )
