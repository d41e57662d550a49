"""The layers of a chart in Vega-Lite's words: each draws the rows that carry its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.report.labels import Frame

HEXAGON = "M-0.6,-1L0.6,-1L1.2,0L0.6,1L-0.6,1L-1.2,0Z"
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", HEXAGON)
STAR = (
    "M0,-1L0.247,-0.34L0.951,-0.309L0.4,0.13L0.588,0.809L0,0.42L-0.588,0.809L-0.4,0.13"
    "L-0.951,-0.309L-0.247,-0.34Z"
)
ARROW = "M-1,0L-3.3,0M-2.3,-1L-3.3,0L-2.3,1"
POINTED = "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0" + ARROW
KINDS = {
    "exact": "KL exact",
    "sampled": "KL sampled",
    "upper": "KL an upper bound",
    "unknown": "KL of a kind not recorded",
}
INK, SOFT, PAPER = "var(--ink)", "var(--soft)", "var(--paper)"  # of chart.css: light or dark
LINES: dict[str, dict[str, Any]] = {  # from the back to the front
    "band": {"interpolate": "linear-closed", "filled": True, "strokeWidth": 0, "opacity": 0.15},
    "seed": {"strokeWidth": 0.9, "opacity": 0.45},
    "fit": {"strokeWidth": 2},
    "other": {"strokeWidth": 1.6, "strokeDash": [2, 4]},
    "proxy": {"strokeWidth": 1.8, "strokeDash": [7, 5]},
    "gold": {"strokeWidth": 2.6},
}
Spec = dict[str, Any]


def layer(rows: str, mark: str, encoding: Spec, *, kinds: Sequence[str] = (), **look: Any) -> Spec:
    """Draw the rows of one name.

    Args:
        rows: Their name.
        mark: Vega-Lite's mark: "line", "point", "rule" or "text".
        encoding: Which column is what.
        kinds: Only rows of these kinds of KL; () for all.
        **look: Vega-Lite's properties of the mark.

    Returns:
        A layer of a specification. Nothing of it leaves the plot.
    """
    only: list[Spec] = [{"filter": {"field": "l", "equal": rows}}]
    only += [{"filter": {"field": "k", "oneOf": list(kinds)}}] if kinds else []
    return {"transform": only, "mark": {"type": mark, "clip": True, **look}, "encoding": encoding}


def legend(entries: Sequence[str], frame: Frame, **look: Any) -> Spec:
    """A legend above the plot, in as many columns as fit."""
    widest = max((len(e) for e in entries), default=1) * 7 + 40
    columns = max(1, min(len(entries), int(frame.width // widest)))
    longest = frame.width - 30  # a longer name is cut, and stands whole beside the chart
    own = {"title": None, "values": list(entries), "columns": columns, "labelLimit": longest}
    return {**own, **look}


def line(role: str, colour: Spec, roles: Sequence[tuple[str, str]], frame: Frame) -> Spec:
    """The curves of one role, or all bands; a legend tells the `roles` apart by their dashes.

    Args:
        role: The curves' role, or "band".
        colour: The encoding of the colour.
        roles: (role, its words) of the lines that the legend explains.
        frame: The plot, for the legend's width.

    Returns:
        A layer of a specification.
    """
    look = {"strokeJoin": "round", "strokeCap": "round", **LINES[role]}
    encoding = {
        "color": colour,
        "detail": {"field": "s", "type": "nominal"},
        "order": {"field": "i", "type": "quantitative"},
    }
    words = dict(roles)
    if role in words:
        look.pop("strokeDash", None)
        names = list(words.values())
        dashes = [LINES[r].get("strokeDash", [1, 0]) for r in words]
        more = {"symbolType": "stroke", "symbolSize": 500, "symbolStrokeColor": SOFT}
        encoding["strokeDash"] = {
            "datum": words[role],
            "type": "nominal",
            "scale": {"domain": names, "range": dashes},
            "legend": legend(names, frame, **more),
        }
    return layer(role, "line", encoding, **look)


def points(colour: Spec, shape: Spec) -> list[Spec]:
    """Markers: filled where KL is exact, else hollow; an arrow where it is an upper bound."""
    both = {"color": colour, "shape": shape}
    look: Spec = {"size": 48, "opacity": 1, "strokeWidth": 1.6, "filled": False}
    arrow: Spec = {**look, "shape": ARROW, "size": 40}
    hollow = ("sampled", "upper", "unknown")
    return [
        layer("point", "point", {"color": colour}, kinds=["upper"], **arrow),
        layer("point", "point", both, kinds=hollow, **look, fill=PAPER),
        layer("point", "point", both, kinds=["exact"], **{**look, "filled": True}),
    ]


def peaks(colour: Spec) -> list[Spec]:
    """Rings at the curves' highest points; stars where a checkpoint was read again."""
    hue = {"color": colour}
    ring: Spec = {"shape": "circle", "size": 200, "filled": False, "strokeWidth": 2, "opacity": 1}
    star: Spec = {"shape": STAR, "size": 260, "filled": True, "stroke": PAPER, "strokeWidth": 1.4}
    return [
        layer("bar", "rule", {**hue, "y2": {"field": "y2"}}, strokeWidth=1.6),
        layer("ring", "point", hue, **{**ring, "clip": False}),
        layer("star", "point", hue, **{**star, "clip": False, "opacity": 1}),
    ]


def words(rows: str, colour: Spec) -> Spec:
    """Labels at their places; the name of the rows says how they look and are aligned."""
    _, look, align = rows.split("-")
    heavy = {"fontWeight": 600} if look in ("mark", "gold") else {}
    style: Spec = {"fontStyle": "italic"} if look == "proxy" else heavy
    place = {"type": "quantitative", "scale": None, "axis": None}
    encoding = {
        "x": {"field": "px", **place},
        "y": {"field": "py", **place},
        "text": {"field": "t", "type": "nominal"},
        "color": {"value": SOFT} if look == "zero" else colour,
    }
    return layer(rows, "text", encoding, clip=False, align=align, fontSize=12, **style)


def hover() -> Spec:
    """Invisible discs that a pointer finds: they open the box with the values."""
    said = [{"field": f, "title": t} for f, t in (("m", "method"), ("at", "at"), ("v", "value"))]
    look: Spec = {"filled": True, "size": 300, "opacity": 0, "color": "transparent"}
    return layer("hover", "point", {"tooltip": said}, **look)


def zero() -> Spec:
    """The line at 0, over the whole width."""
    return layer("zero", "rule", {"x": None}, strokeDash=[1, 3], color=SOFT)


def kinds_of_kl(kinds: Sequence[str], frame: Frame) -> Spec:
    """A layer that draws nothing: its legend tells the kinds of KL apart."""
    names = [KINDS[k] for k in kinds]
    ranges = {
        "fill": [SOFT if k == "exact" else PAPER for k in kinds],
        "shape": ["circle" if k != "upper" else POINTED for k in kinds],
        "stroke": [SOFT] * len(kinds),
    }
    own = {"field": "k", "type": "nominal", "legend": legend(names, frame)}
    encoding = {
        channel: {**own, "scale": {"domain": names, "range": values}}
        for channel, values in ranges.items()
    }
    return layer("", "point", encoding, opacity=0, filled=False, strokeWidth=1.6)
