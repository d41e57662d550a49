"""How runs, comparisons and curves look in a notebook: the figure, and a table beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from assay.evaluation.lines import number
from assay.records.run_warnings import causes, collapsed
from assay.safe_text import visible


@runtime_checkable
class Shown(Protocol):
    """What is shown of a run: `assay.Run` is one."""

    record: Any

    @property
    def readings(self) -> list[Any]: ...
    @property
    def best(self) -> Any: ...
    @property
    def state(self) -> str: ...


WIDE = "max-width:100%;height:auto;background:#fff"


def run_html(run: Shown, folder: Path) -> str:
    """A run's curve, verdict and last readings.

    Args:
        run: The run.
        folder: The folder with its record.
    """
    from assay.report import svg

    readings = run.readings
    if not readings:
        return f"<p>{text(repr(run))}: no reading yet</p>"
    picture = image(svg([folder]), "gold and proxy against the square root of KL")
    shown = [r for r in readings if r["tag"] != "best"]
    some = shown if len(shown) <= 8 else [*shown[:2], *shown[-5:]]
    rows = [
        [str(r["step"]), root(r["kl"]), number(r["gold"], r["gold_err"]),
         number(r["proxy"], r["proxy_err"])]
        for r in some
    ]  # fmt: skip
    died = "".join(
        f"<p><b>Training has died</b>: {text(w['what'])}. {text(w['advice'])}</p>"
        for w in causes(collapsed(run.record.about))
    )
    return (
        f"<p><b>{text(str(run.record.about['recipe']))}</b>, {text(run.state)}. "
        f"{text(verdict(run))}</p>{died}{picture}" + table(["step", "√KL", "gold", "proxy"], rows)
    )


def verdict(run: Shown) -> str:
    """What a run came to, in a sentence or two.

    Args:
        run: The run.
    """
    curve = [r for r in run.readings if r["tag"] not in ("best", "reference")]
    watched = next((r["watch"] for r in reversed(curve) if r["watch"]), None)
    said = [f"Watch: {watched['says']}."] if watched and "says" in watched else []
    best = run.best
    if best is not None and curve:
        last = curve[-1]
        said.append(f"Best: {best.name}: {best.reason}.")
        here = best.reading
        if here is not None and here["gold"] is not None:
            fresh = (here["stats"] or {}).get("fresh/gold_last")
            if here["tag"] != "best":  # not read again: the sentence has no number yet
                said.append(f"Its gold is {number(here['gold'], here['gold_err']).strip()}.")
            if here["step"] != last["step"]:
                said.append(
                    f"Step {last['step']}, the last, has {fresh:.4g} on the same completions."
                    if fresh is not None
                    else f"At step {last['step']}, the last, gold is "
                    f"{number(last['gold'], last['gold_err']).strip()}."
                )
    return " ".join(said)


def comparison_html(found: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """A comparison's figures, tables and notes, a world after the other.

    Args:
        found: What `evaluation.compare` returns.
        pictures: An SVG for each of its worlds; empty for a world without a figure.
    """
    from assay.report.comparison import tables

    out = []
    for world, picture in zip(tables(found), pictures, strict=True):
        out.append(
            f"<p><b>{text(world['title'])}</b>: baseline {text(world['baseline'])}, "
            f"{text(world['budget'])} a run.</p>{image(picture, 'gold at equal KL')}"
        )
        for one in (world["reached"], world["against"]):
            if one.rows:
                out.append(f"<p>{text(one.caption)}</p>{table(one.head, one.rows)}")
        out.append("<ul>" + "".join(f"<li>{text(note)}</li>" for note in world["notes"]) + "</ul>")
    return "".join(out)


def root(kl: float | None) -> str:
    """The square root of a KL, as a table has it."""
    return "–" if kl is None else f"{max(0.0, kl) ** 0.5:.2f}"


def image(svg: str, about: str) -> str:
    """An SVG as an image, so that its styles and the notebook's do not meet."""
    if not svg:
        return ""
    coded = base64.b64encode(svg.encode()).decode()
    return (
        f'<img style="{WIDE}" alt="{html.escape(about)}" src="data:image/svg+xml;base64,{coded}">'
    )


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; every cell is text, or a report's cell: bold where it is sure."""
    top = "".join(f"<th>{text(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{_cell(c)}</td>" for c in r) + "</tr>" for r in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    said = text(str(getattr(value, "text", value)))
    return f"<b>{said}</b>" if getattr(value, "sure", False) else said


def text(value: str) -> str:
    """Text made harmless for a page: it may come from a model."""
    return html.escape(visible(value))
