"""Cells and tables of the watch's page."""

from __future__ import annotations

from typing import Any


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    return (
        "\n".join(["| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *rows)]) + "\n"
    )


def number(x: float | None, digits: int = 0) -> str:
    """`never` for none."""
    return "never" if x is None else f"{x:.{digits}f}"


def share(row: dict[str, Any]) -> str:
    """A frequency with its interval, in per cent."""
    low, high = row["interval"]
    return f"{100 * row['false']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def cells(
    row: dict[str, Any], shapes: tuple[str, ...] = ("0.4", "0.3", "0.2", "ramp")
) -> list[str]:
    """median / 90 % of the labels between the turn and the alarm, and looks."""
    return [
        f"{number(row[s]['median'])} / {number(row[s]['90%'])} ({number(row[s]['looks'])})"
        for s in shapes
    ]
