"""A comparison as markdown and as a figure: what was found by `assay compare`, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.data.escape import count, number, safe, spread
from assay.records.methods import Ground, Method, Track
from assay.report.chart import STYLE, Curve, chart
from assay.report.lines import above, line

COLUMNS = (
    ("matched", "gold at equal KL"),
    ("peak_plain", "peak − plain's peak"),
    ("peak_tuned", "peak − tuned's peak"),
    ("final_plain", "end − plain's end"),
    ("final_tuned", "end − tuned's end"),
    ("final_stopped", "end − plain's peak"),
)
WIDE, HIGH, PER_ROW = 290, 200, 3


def markdown(found: Mapping[str, Any]) -> str:
    """Every world's comparison as tables: what was reached and at what cost, and paired
    differences.
    """
    lines = [
        "# Comparison",
        "",
        "Written by `assay compare`. Means over seeds, ± half of the 95 % Student interval. "
        "Differences are paired by seed; **bold** stays sure when all methods of its column are "
        "judged at once (Holm, 5 %), and nothing is bold on fewer than five pairs. In brackets: "
        "on how many of the pairs the difference is above 0.",
        "",
    ]
    for world in found["worlds"]:
        lines += [*_reached(world), *_against(world), *_notes(world)]
    return "\n".join(lines) + "\n"


def _reached(world: Mapping[str, Any]) -> list[str]:
    g = world["gold"]
    lines = [
        f"## {world['world']}",
        "",
        f"Baseline: {world['baseline']}. Budget: {count(world['budget']['value'])} "
        f"{world['budget']['unit']} a run. Peak and end on the same fresh answers; the "
        f"reference's {g} is in the first column.",
        "",
        f"| method | seeds | reference | peak {g} | KL there | end | KL there | drop | drawn | "
        "judged | labels | s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for m in _ordered(world):
        r, c = m["reached"], m["cost"]
        cells = [
            _spread(r[k]) for k in ("reference", "peak", "peak_kl", "final", "final_kl", "drop")
        ]
        costs = [
            count(c[k]) if k != "seconds" else number(c[k])
            for k in ("generated", "scored", "labels", "seconds")
        ]
        lines.append(
            "| " + " | ".join([_text(m["method"]), str(m["seeds"]), *cells, *costs]) + " |"
        )
    return [*lines, ""]


def _against(world: Mapping[str, Any]) -> list[str]:
    shown = [(k, head) for k, head in COLUMNS if any(k in m["against"] for m in world["methods"])]
    lines = [
        "| method | " + " | ".join(head for _, head in shown) + " | √KL shared |",
        "|---|" + "--:|" * (len(shown) + 1),
    ]
    for m in _ordered(world):
        if not m["against"]:
            continue
        cells = []
        for k, _ in shown:
            d = m["against"].get(k)
            text = "" if d is None else "–"
            if d and d["mean"] is not None:
                text = f"{spread(d['mean'], d['half'], sign=True)} ({d['above']}/{d['seeds']})"
            cells.append(f"**{text}**" if d and d["sure"] else text)
        share = "–" if m["overlap"] is None else f"{100 * m['overlap']:.0f} %"
        lines.append("| " + " | ".join([_text(m["method"]), *cells, share]) + " |")
    return [*lines, ""]


def _notes(world: Mapping[str, Any]) -> list[str]:
    said = [
        "“√KL shared”: how much of the baseline's range of √KL a method reached too; gold at equal "
        "KL is about that part."
    ]
    for m in world["methods"]:
        if m["choices"]:
            taken = {
                label: list(m["choices"].values()).count(label)
                for label in dict.fromkeys(m["choices"].values())
            }
            times = ", ".join(f"{label} on {n}" for label, n in taken.items())
            edge = (
                f"; {m['edge']} is the edge of what was tried, and the best may lie beyond"
                if m["edge"]
                else ""
            )
            said.append(
                f"{m['method']}: on each seed the setting best on the other seeds ({times}{edge})."
            )
    if world["price"] is None:
        said.append("There is no tuned price on KL here: no run of kl_in_loss or kl_in_reward.")
    said += [f"Not compared: {a['method']} ({a['why']})." for a in world["apart"]]
    gaps: dict[tuple[str, str], int] = {}
    for gap in world["missing"]:
        gaps[gap["method"], gap["why"]] = gaps.get((gap["method"], gap["why"]), 0) + 1
    said += [
        f"Missing: {method} on {n} of {world['seeds']} seeds ({why})."
        for (method, why), n in gaps.items()
    ]
    return [*[f"- {_text(s)}" for s in said], ""]


def _ordered(world: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The baseline first, then by gold at the peak."""
    first, *rest = world["methods"]
    return [first, *sorted(rest, key=lambda m: -(m["reached"]["peak"]["mean"] or float("-inf")))]


def _spread(x: Mapping[str, float | None]) -> str:
    return spread(x["mean"], x["half"])


def _text(s: str) -> str:
    """Words that cannot break a table."""
    return s.replace("|", "\\|").replace("\n", " ")


def figure(
    ground: Ground, rows: Sequence[tuple[str, Sequence[Track]]], *, ident: str = "compare"
) -> str:
    """Gold against √KL, a panel a method (its band is the 95 % Student interval over seeds), with
    the first row, the baseline, dotted in each. One scale for all; what falls far below the
    baseline leaves the panel.
    """
    drawn = [
        (label, got)
        for label, tracks in rows
        if (got := line(Method(label, {}, list(tracks)), above("gold")))
    ]
    if not drawn:
        return ""
    base = drawn[0][1]
    span = float(np.ptp(np.r_[base.y, 0.0])) or 1.0
    floor = min(0.0, float(base.y.min())) - 0.5 * span
    low = max(floor, min(float(x.y.min()) for _, x in drawn))
    high = max(float(x.y.max()) for _, x in drawn)
    y = (low - 0.06 * (high - low), high + 0.06 * (high - low))
    panels = []
    for i, (label, got) in enumerate(drawn):
        curves = [
            Curve(got.x, got.y, 0, "gold", got.low, got.high),
            *([] if i == 0 else [Curve(base.x, base.y, 6, "other")]),
        ]
        said = f"Highest {number(float(got.y.max()), sign=True)}, last {number(float(got.y[-1]), sign=True)}, {got.seeds} seeds."
        one = chart(
            curves,
            ident=f"{ident}{i}",
            title=f"{label}: {ground.gold_name} by √KL",
            description=said,
            x_label="√KL",
            y_label=label[:40],
            y=y,
            zero="",
            width=WIDE,
            height=HIGH,
        )
        x0, y0 = i % PER_ROW * WIDE, i // PER_ROW * HIGH + 24
        panels.append(
            one.replace("<svg ", f'<svg x="{x0}" y="{y0}" width="{WIDE}" height="{HIGH}" ', 1)
        )
    width, height = min(len(drawn), PER_ROW) * WIDE, -(-len(drawn) // PER_ROW) * HIGH + 24
    title = f"{ground.gold_name} above the reference by √KL, {ground.title}"
    head = f'<text class="label" x="8" y="16">{safe(title)}; dotted: {safe(drawn[0][0])}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" '
        'role="img" '
        f'aria-labeledby="{ident}-t"><title '
        f'id="{ident}-t">{safe(title)}</title><style>{STYLE}</style>'
        f'<rect class="paper" width="{width}" height="{height}"/>{head}{"".join(panels)}</svg>'
    )
