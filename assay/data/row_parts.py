"""The first rows of a file as they were read: who says what, and what answers what."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from assay.data.demos import Demo
from assay.data.faults import Faults
from assay.data.items import Item, read_items, size_of, texts_of
from assay.data.pairs import Pair
from assay.data.prompt_cells import Prompt
from assay.data.scan import Scan
from assay.data.turns import Turn, Turns


def first_rows(scan: Scan, n: int, limit: int | None = None) -> Iterator[Item]:
    """Read the first usable rows of a file again.

    Args:
        scan: The file.
        n: How many rows.
        limit: Most characters of prompt plus completion.
    """
    faults = Faults(scan.source.name, scan.source.line)
    for item in read_items(scan.source.rows(faults), scan.layout, faults):
        if n == 0:
            return
        if limit is None or size_of(texts_of(item)) <= limit:
            n -= 1
            yield item


def completions(item: Item) -> list[tuple[str, str, Turns | None]]:
    """(name, text, turns) of an item's completions; turns for more than the assistant's text."""
    if isinstance(item, Pair):
        one, two = item.replies or (None, None)
        return [("chosen", item.chosen, one), ("rejected", item.rejected, two)]
    if isinstance(item, Prompt):
        return []
    if isinstance(item, Demo):
        return [("completion", item.completion, item.reply)]
    return [("response", item.response, item.reply)]


def plain(kind: str, item: Item) -> dict[str, Any]:
    """A row as JSON has it.

    Args:
        kind: What the file holds.
        item: The row's Pair, Scored, Demo or Prompt.

    Returns:
        `row`; `kind`; `prompt`, a text or a list of messages; `completions`, each with its name and
        its messages; and p and margin, or the score.
    """
    found: dict[str, Any] = {
        "row": item.row,
        "kind": "pairs" if kind == "choices" else kind,
        "prompt": item.prompt if item.turns is None else [t.message() for t in item.turns],
        "completions": [
            {
                "name": name,
                "messages": [t.message() for t in turns or (Turn("assistant", text),)],
            }
            for name, text, turns in completions(item)
        ],
    }
    for label in ("p", "margin", "score"):
        if math.isfinite(getattr(item, label, math.nan)):  # a demonstration's score is NaN
            found[label] = getattr(item, label)
    return found
