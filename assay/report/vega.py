"""A chart as a Vega-Lite specification: plain JSON, drawn alike with a browser and without one.

Colours are CSS variables (`chart.css`), so that one drawing serves light and dark pages. All rows
stand in one table (`rows.py`); the page's switches hide methods through the parameter `hidden`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.report import layers, rows
from assay.report.curves import Curve, Mark
from assay.report.labels import LEFT, RIGHT, Frame, Label
from assay.report.layers import INK, KINDS, LINES, SHAPES, SOFT, Spec

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
COLOURS = 7
CONFIG: Spec = {
    "font": "system-ui, sans-serif",
    "aria": False,  # the whole chart is one picture with a description
    "view": {"stroke": None},
    "axis": {
        "labelColor": SOFT,
        "tickColor": SOFT,
        "domainColor": SOFT,
        "gridColor": "var(--grid)",
        "titleColor": INK,
        "labelFontSize": 11.5,
        "titleFontSize": 12,
        "titleFontWeight": 600,
    },
    "legend": {
        "orient": "top",
        "direction": "horizontal",
        "offset": 24,
        "labelColor": INK,
        "labelFontSize": 12,
        "symbolSize": 70,
        "symbolOpacity": 1,
        "rowPadding": 4,
        "columnPadding": 14,
        "layout": {"top": {"direction": "vertical", "anchor": "start", "margin": 8}},
    },
}
_ABOVE: Spec = {  # an axis's name stands above it and is read without turning one's head
    "titleAngle": 0,
    "titleAnchor": "end",
    "titleBaseline": "bottom",
    "titleY": -9,
    "domain": False,
    "ticks": False,
}
_APART = ("y", "fill", "shape", "color", "stroke", "strokeDash")


def specification(
    curves: Sequence[Curve],
    marks: Sequence[Mark],
    labels: Sequence[Label],
    frame: Frame,
    *,
    x_label: str,
    y_label: str,
    methods: dict[str, int],
    roles: Sequence[tuple[str, str]] = (),
    kl_row: bool = False,
    second: tuple[float, str] | None = None,
    zero: bool = False,
) -> Spec:
    """The chart as Vega-Lite.

    Args:
        curves: What is drawn, none empty.
        marks: Peaks and re-read checkpoints.
        labels: Words with their places, from `labels.placed`.
        frame: Size and ranges of the plot.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
        methods: Name → place, of every method that the chart shows.
        roles: (role, its words) of the lines that a legend explains; () for no legend at all.
        kl_row: x is √KL, and KL stands below.
        second: (factor, name) of a right-hand axis that shows y/factor.
        zero: Draw the line at 0.

    Returns:
        A dictionary that is JSON.
    """
    table = [
        *rows.curve_rows(curves, frame, x_label),
        *rows.mark_rows(marks),
        *rows.label_rows(labels),
        *([{"l": "zero", "m": "", "y": 0}] if zero else []),
    ]
    there = {row["l"] for row in table}
    colour, shape = _looks(methods, frame, bool(roles))
    drawn = [
        *([layers.zero()] if zero else []),
        *(layers.line(role, colour, roles, frame) for role in LINES if role in there),
        *(layers.points(colour, shape) if "point" in there else []),
        *(layers.peaks(colour) if there & {"ring", "star"} else []),
        *(layers.words(name, colour) for name in sorted(there) if name.startswith("text-")),
        *([layers.hover()] if "hover" in there else []),
    ]
    plot: Spec = {
        "layer": drawn,
        "encoding": {"x": _x(frame, x_label, kl_row), "y": _y(frame, y_label)},
    }
    kinds = [k for k in KINDS if any(row.get("k") == k for row in table)]
    apart = [layers.kinds_of_kl(kinds, frame)] if roles and kinds not in ([], ["exact"]) else []
    apart += [_second(frame, *second)] if second else []
    if apart:
        plot = {"layer": [plot, *apart], "resolve": {"scale": dict.fromkeys(_APART, "independent")}}
    return {
        "$schema": SCHEMA,
        "width": frame.width,
        "height": frame.height,
        "background": None,
        "params": [{"name": "hidden", "value": []}],
        "data": {"values": table},
        "transform": [{"filter": "indexof(hidden, datum.m) < 0"}],
        **plot,
        "config": CONFIG,
    }


def _looks(methods: dict[str, int], frame: Frame, legend: bool) -> tuple[Spec, Spec]:
    """Colour and marker of each method; what belongs to no method has the last colour."""
    places = {"": COLOURS - 1, **methods}
    own = {
        "field": "m",
        "type": "nominal",
        "legend": layers.legend(list(methods), frame) if legend else None,
    }
    colours = [f"var(--c{p % COLOURS})" for p in places.values()]
    shapes = [SHAPES[p % len(SHAPES)] for p in places.values()]
    return (
        {**own, "scale": {"domain": list(places), "range": colours}},
        {**own, "scale": {"domain": list(places), "range": shapes}},
    )


def _scale(domain: Sequence[float], **more: Any) -> Spec:
    return {"domain": list(domain), "nice": False, "zero": False, **more}


def _x(frame: Frame, title: str, kl_row: bool) -> Spec:
    axis: Spec = {"title": title, "titleAnchor": "end", "grid": False, "labelFlush": False}
    axis["tickCount"] = max(3, round(frame.width / 75))
    if kl_row:
        both = ("datum.value", "datum.value * datum.value")
        axis["labelExpr"] = "[{}]".format(", ".join(f"format({v}, '.6~g')" for v in both))
    scale = _scale(frame.x, range=[LEFT, frame.width - RIGHT])
    return {"field": "x", "type": "quantitative", "scale": scale, "axis": axis}


def _y(frame: Frame, title: str) -> Spec:
    count = max(3, round(frame.height / 55))
    axis = {"title": title, "tickCount": count, **_ABOVE, "titleAlign": "left", "titleX": -34}
    axis["titleLimit"] = frame.width + 34
    return {"field": "y", "type": "quantitative", "scale": _scale(frame.y), "axis": axis}


def _second(frame: Frame, factor: float, title: str) -> Spec:
    """A layer that draws nothing but its axis."""
    axis = {"title": title, "tickCount": 5, **_ABOVE, "titleAlign": "right", "titleX": 34}
    scale = _scale([end / factor for end in frame.y])
    y = {"field": "y", "type": "quantitative", "scale": scale}
    y["axis"] = {**axis, "orient": "right", "grid": False}
    return layers.layer("", "point", {"y": y}, opacity=0)
