"""One chart: a specification for the chart library, and a still picture of it as SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.report.curves import Curve, Mark, x_range, y_range
from assay.report.labels import Frame, placed
from assay.report.vega import specification
from assay.safe_text import visible

STYLE = (Path(__file__).parent / "templates" / "chart.css").read_text("utf-8")
SVG = "http://www.w3.org/2000/svg"


@dataclass
class Chart:
    """A chart that can be drawn.

    Attributes:
        ident: The id of its elements, unique in a page.
        title: What it shows.
        description: What is to be seen in it, for those who cannot.
        spec: The Vega-Lite specification.
    """

    ident: str
    title: str
    description: str
    spec: dict[str, Any]

    def still(self, *, alone: bool = False) -> str:
        """The chart as SVG.

        Args:
            alone: With its own style and background, as a file.

        Returns:
            An `svg` element with a title and a description.
        """
        import vl_convert

        root = ET.fromstring(vl_convert.vegalite_to_svg(_without_hover(self.spec)))
        _tidy(root, self.ident)
        title, desc = (
            ET.Element(f"{{{SVG}}}title", id=f"{self.ident}-t"),
            ET.Element(f"{{{SVG}}}desc", id=f"{self.ident}-d"),
        )
        title.text, desc.text = visible(self.title), visible(self.description)
        root.set("class", "chart")
        root.set("role", "img")
        root.set("aria-labelledby", f"{self.ident}-t {self.ident}-d")
        head = [title, desc]
        if alone:
            style = ET.Element(f"{{{SVG}}}style")
            style.text = STYLE
            head += [
                style,
                ET.Element(f"{{{SVG}}}rect", {"class": "paper", "width": "100%", "height": "100%"}),
            ]
        root[:0] = head
        ET.register_namespace("", SVG)
        return ET.tostring(root, encoding="unicode")


def _without_hover(spec: Any) -> Any:
    """A still has no pointer: the places that only a pointer finds are left out."""
    if isinstance(spec, list):
        return [
            _without_hover(s) for s in spec if not (isinstance(s, dict) and s.get("l") == "hover")
        ]
    return {k: _without_hover(v) for k, v in spec.items()} if isinstance(spec, dict) else spec


def _tidy(root: ET.Element, ident: str) -> None:
    """Names of clip paths become unique in a page; to a screen reader the whole is one picture."""
    for parent in list(root.iter()):
        for e in [e for e in parent if e.get("display") == "none"]:
            parent.remove(e)
    for e in root.iter():
        for k in [k for k in e.attrib if k == "role" or k.startswith("aria-")]:
            del e.attrib[k]
        if "id" in e.attrib:
            e.set("id", f"{ident}-{e.get('id')}")
        if (clip := e.get("clip-path")) is not None:
            e.set("clip-path", clip.replace("url(#", f"url(#{ident}-"))


def chart(
    curves: Sequence[Curve],
    marks: Sequence[Mark] = (),
    *,
    ident: str,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    width: int = 790,
    height: int = 360,
    roles: Sequence[tuple[str, str]] = (),
    kl_row: bool = False,
    second: tuple[float, str] | None = None,
    y: tuple[float, float] | None = None,
    zero: str | None = None,
) -> Chart:
    """A chart of curves and marks.

    Args:
        curves: What is drawn.
        marks: Peaks and re-read checkpoints.
        ident: The id of its elements, unique in a page.
        title: What it shows.
        description: What is to be seen in it.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
        width: Of the plot, without axes, in pixels.
        height: Of the plot.
        roles: (role, its words) of the lines that a legend explains; () for no legend at all.
        kl_row: x is √KL, and KL stands below.
        second: (factor, name) of a right-hand axis that shows y/factor.
        y: The vertical range, where several charts share one.
        zero: Draw the line at 0 and call it so; None for no line.

    Returns:
        The chart, not yet drawn.
    """
    drawn = [c for c in curves if len(c.x)]
    frame = Frame(
        width, height, x_range(drawn, marks), y or y_range(drawn, marks, zero is not None)
    )
    level = zero is not None and frame.y[0] < 0 < frame.y[1]
    labels = placed(frame, drawn, marks, (zero or "") if level else "")
    methods = {c.method: c.place for c in drawn if c.method}
    spec = specification(
        drawn,
        marks,
        labels,
        frame,
        x_label=x_label,
        y_label=y_label,
        methods=methods,
        roles=roles,
        kl_row=kl_row,
        second=second,
        zero=level,
    )
    return Chart(ident, title, description, _visible(spec))


def beside(
    charts: Sequence[Chart], ident: str, title: str, description: str, columns: int
) -> Chart:
    """Several charts as one picture.

    Args:
        charts: The panels, in the order of reading.
        ident: The id of the whole.
        title: What stands above it.
        description: What is to be seen in it.
        columns: How many panels stand in a row.

    Returns:
        One chart.
    """
    own = ("$schema", "config", "background", "params")
    whole = {k: charts[0].spec[k] for k in own}
    panels = [{k: v for k, v in c.spec.items() if k not in own} for c in charts]
    apart = {"scale": dict.fromkeys(("color", "shape"), "independent")}
    head = {"text": visible(title), "anchor": "start", "color": "var(--ink)", "fontSize": 12}
    return Chart(
        ident,
        title,
        description,
        {**whole, "title": head, "columns": columns, "concat": panels, "resolve": apart},
    )


def _visible(value: Any) -> Any:
    """The same with every hidden character of every text spelled out."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(k): _visible(v) for k, v in value.items()}
    return [_visible(v) for v in value] if isinstance(value, (list, tuple)) else value
