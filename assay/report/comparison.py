"""A comparison as Markdown, as a page and as a figure: what `assay compare` found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.data.escape import count, number, spread
from assay.records.methods import Ground, Method, Track
from assay.report.chart import Chart, beside, chart
from assay.report.curves import Curve
from assay.report.lines import above, line
from assay.report.render import counted, document, written
from assay.report.table import Cell, Table

COLUMNS = (
    ("matched", "gold at equal KL"),
    ("peak_plain", "peak − plain's peak"),
    ("peak_tuned", "peak − tuned's peak"),
    ("final_plain", "end − plain's end"),
    ("final_tuned", "end − tuned's end"),
    ("final_stopped", "end − plain's peak"),
)
REACHED = ("reference", "peak", "peak_kl", "final", "final_kl", "drop")
SHARED = (
    "“√KL shared”: how much of the baseline's range of √KL a method reached too; gold at equal KL "
    "is about that part."
)
WIDE, HIGH, PER_ROW = 240, 130, 3
Drawn = tuple[str, Sequence[Track]]  # a label and its runs


def markdown(found: Mapping[str, Any]) -> str:
    """Every world's comparison as tables: what was reached, its cost, and paired differences.

    Args:
        found: What `evaluation.compare` returns.

    Returns:
        Markdown.
    """
    return written("comparison.md", worlds=tables(found))


def page(found: Mapping[str, Any], drawn: Sequence[tuple[Ground, Sequence[Drawn]]]) -> str:
    """The same as one self-contained HTML page, with a live chart a method.

    Args:
        found: What `evaluation.compare` returns.
        drawn: Of each of its worlds: the world and (label, its runs), the baseline first.

    Returns:
        HTML.
    """
    worlds = tables(found)
    for i, (w, (ground, rows)) in enumerate(zip(worlds, drawn, strict=True)):
        w |= {"ident": f"w{i}", "charts": panels(ground, rows, ident=f"w{i}-")}
    methods = sum(len(w["reached"].rows) for w in worlds)
    return document(
        "comparison.html",
        heading="Methods compared",
        sizes=f"{counted(methods, 'method')}, {counted(len(worlds), 'world')}",
        worlds=worlds,
    )


def tables(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every world's title, baseline, budget, tables and notes.

    Args:
        found: What `evaluation.compare` returns.
    """
    return [_compared(w) for w in found["worlds"]]


def _compared(world: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates need of one world: the baseline first, then by gold at the peak."""
    first, *rest = world["methods"]
    rest = sorted(rest, key=lambda m: -(m["reached"]["peak"]["mean"] or float("-inf")))
    shown = [(k, head) for k, head in COLUMNS if any(k in m["against"] for m in world["methods"])]
    g, keys, heads = world["gold"], [k for k, _ in shown], [head for _, head in shown]
    head = ["method", "seeds", "reference", f"peak {g}", "KL there", "end", "KL there", "drop"]
    return {
        "title": world["world"],
        "gold": g,
        "baseline": world["baseline"],
        "budget": f"{count(world['budget']['value'])} {world['budget']['unit']}",
        "reached": Table(
            f"What was reached and at what cost, {world['world']}",
            [*head, "generated", "scored", "labels", "s"],
            [_reached(m) for m in (first, *rest)],
        ),
        "against": Table(
            f"Differences paired by seed, {world['world']}",
            ["method", *heads, "√KL shared"],
            [_against(m, keys) for m in (first, *rest) if m["against"]],
        ),
        "apart": _apart(world, head) if world["apart"] else None,
        "notes": _notes(world),
    }


def _apart(world: Mapping[str, Any], head: Sequence[str]) -> Table:
    """Methods of another budget: what they reached and spent, and how far from the baseline."""
    keys = ("peak_plain", "final_plain", "final_stopped")
    heads = [name for key, name in COLUMNS if key in keys]
    return Table(
        f"Methods of another budget, {world['world']}",
        [*head, "generated", "scored", "labels", "s", *heads],
        [[*_reached(m), *_against(m, keys)[1:-1]] for m in world["apart"]],
    )


def _reached(m: Mapping[str, Any]) -> list[str]:
    r, c = m["reached"], m["cost"]
    costs = [count(c[k]) for k in ("generated", "scored", "labels")]
    reached = [spread(r[k]["mean"], r[k]["half"]) for k in REACHED]
    return [m["method"], str(m["seeds"]), *reached, *costs, number(c["seconds"])]


def _against(m: Mapping[str, Any], shown: Sequence[str]) -> list[Cell | str]:
    cells: list[Cell | str] = []
    for d in (m["against"].get(k) for k in shown):
        text = "" if d is None else "–"
        if d and d["mean"] is not None:
            text = f"{spread(d['mean'], d['half'], sign=True)} ({d['above']}/{d['seeds']})"
        cells.append(Cell(text, sure=bool(d and d["sure"])))
    share = "–" if m["overlap"] is None else f"{100 * m['overlap']:.0f} %"
    return [m["method"], *cells, share]


def _notes(world: Mapping[str, Any]) -> list[str]:
    said = [SHARED]
    if own := world["per_seed"]:
        said.append(f"Each seed has its own {' and '.join(own)}, which all methods share.")
    for m in (m for m in world["methods"] if m["choices"]):
        taken = ", ".join(f"{label} on {n}" for label, n in Counter(m["choices"].values()).items())
        if m["edge"]:
            taken += f"; {m['edge']} is the edge of what was tried, and the best may lie beyond"
        said.append(f"{m['method']}: on each seed the setting best on the other seeds ({taken}).")
    if world["price"] is None:
        said.append("There is no tuned price on KL here: no run of kl_in_loss or kl_in_reward.")
    said += [f"Of another budget: {a['method']} ({a['why']})." for a in world["apart"]]
    gaps = Counter((gap["method"], gap["why"]) for gap in world["missing"])
    for (method, why), n in gaps.items():
        said.append(f"Missing: {method} on {n} of {world['seeds']} seeds ({why}).")
    return said


def panels(ground: Ground, rows: Sequence[Drawn], *, ident: str = "compare") -> list[Chart]:
    """Gold against √KL, a panel a method, with the first row, the baseline, dotted in each.

    Bands are the 95 % Student interval over seeds. There is one scale for all, which holds the
    bands; what falls far below the baseline leaves the panel.

    Args:
        ground: The world.
        rows: (label, its runs), the baseline first.
        ident: The beginning of the ids.

    Returns:
        The panels; [] where nothing has both gold and KL.
    """
    found = [
        (label, got)
        for label, tracks in rows
        if (got := line(Method(label, {}, list(tracks)), above("gold")))
    ]
    if not found:
        return []
    base = found[0][1]
    span = float(np.ptp(np.r_[base.y, 0.0])) or 1.0
    floor = min(0.0, float(base.y.min())) - 0.5 * span
    ends = [e for _, x in found for e in (x.y, x.low, x.high) if e is not None]
    low = max(floor, min(float(np.nanmin(e)) for e in ends))
    high = max(float(np.nanmax(e)) for e in ends)
    room = 0.06 * (high - low or 1.0)  # a flat gold has no range
    out = []
    for i, (label, got) in enumerate(found):
        name = ground.gold_name
        curves = [Curve(got.x, got.y, 0, "gold", got.low, got.high, method=label, value=name)]
        curves += [Curve(base.x, base.y, 6, "other")] if i else []
        most, last = (number(float(y), sign=True) for y in (got.y.max(), got.y[-1]))
        out.append(
            chart(
                curves,
                ident=f"{ident}{i}",
                title=f"{label}: {name} by √KL",
                description=f"{label}: highest {most}, last {last}, {got.seeds} seeds",
                x_label="√KL",
                y_label=label[:40],
                y=(low - room, high + room),
                zero="",
                width=WIDE,
                height=HIGH,
            )
        )
    return out


def figure(ground: Ground, rows: Sequence[Drawn]) -> str:
    """The panels as one SVG file; "" where there are none."""
    found = panels(ground, rows)
    if not found:
        return ""
    title = f"{ground.gold_name} above the reference by √KL, {ground.title}; dotted: {rows[0][0]}"
    said = "; ".join(one.description for one in found)
    return beside(found, "compare", title, said, PER_ROW).still(alone=True)
