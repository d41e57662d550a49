"""What was taken for the label of a file, with a few rows as they were read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from assay.data.kinds import Layout
from assay.data.pairs import Pair
from assay.data.scored import Scored
from assay.safe_text import visible

SHOWN = 3  # rows
WIDTH = 40  # characters of a text


def label_of(layout: Layout, items: Sequence[Any]) -> dict[str, Any] | None:
    """Say what was taken for the label.

    Args:
        layout: The file's columns.
        items: Its first pairs or scored responses, as they were read.

    Returns:
        The column, how it is read, and rows; None for a file without labels.
    """
    parts, scale = layout.parts, layout.scale
    if layout.kind == "pairs":
        column, says = parts["chosen"], f"{parts['chosen']} is better than {parts['rejected']}"
    elif scale is not None:
        column, says = scale.column, scale.says
    else:
        return None
    for part, what in (("p", "the probability of that"), ("margin", "the margin")):
        says += f"; {parts[part]} is {what}" if part in parts else ""
    return {"column": column, "says": says, "rows": [_row(item) for item in items[:SHOWN]]}


def _row(item: Pair | Scored) -> dict[str, Any]:
    if isinstance(item, Scored):
        return {"row": item.row, "response": item.response, "score": item.score}
    found = {"row": item.row, "chosen": item.chosen, "rejected": item.rejected, "p": item.p}
    return found | ({"margin": item.margin} if item.margin else {})


def label_says(label: Mapping[str, Any] | None) -> list[str]:
    """What `label_of` found as lines for a person, with hidden characters spelled out.

    Args:
        label: What `label_of` found.
    """
    if label is None:
        return []
    lines = [f"label: column {visible(label['column'])} ({visible(label['says'])})"]
    for row in label["rows"]:
        alike = _alike(row)
        cells = ", ".join(f"{k} {_cell(v, alike)}" for k, v in row.items() if k != "row")
        lines.append(f"  row {row['row']}: {cells}")
    return lines


def _alike(row: Mapping[str, Any]) -> int:
    """From which character completions are shown: a few before they differ, if that is late."""
    if "chosen" not in row:
        return 0
    both = zip(row["chosen"], row["rejected"], strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
    return same - WIDTH // 4 if same > 3 * WIDTH // 4 else 0


def _cell(value: Any, begin: int) -> str:
    if isinstance(value, str):
        value = value[begin:]
        text = re.sub(r"\s+", " ", value[: 4 * WIDTH]).strip()
        cut = len(text) > WIDTH or len(value) > 4 * WIDTH
        head = "…" if begin else ""
        return f'"{head}{visible(text[:WIDTH].rstrip())}{"…" if cut else ""}"'
    return f"{value:.4g}"
