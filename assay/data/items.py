"""The items of a file of any kind: pairs, scored responses, demonstrations or prompts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assay.data.demos import Demo, demos
from assay.data.faults import Faults
from assay.data.kinds import Layout
from assay.data.pairs import Pair, pairs
from assay.data.prompt_cells import Prompt, prompts
from assay.data.scored import Scored, scored

Item = Pair | Scored | Demo | Prompt


def read_items(
    rows: Iterator[tuple[int, dict[str, Any]]], found: Layout, faults: Faults
) -> Iterator[Any]:
    """Read the items of rows: Pairs, Scored, Demos or Prompts, by the kind of the file.

    Args:
        rows: (row number, row).
        found: The file's columns.
        faults: Counts rows with faults, which are left out.
    """
    if found.kind in ("pairs", "choices"):
        return pairs(rows, found, faults)
    if "response" in found.parts:
        return scored(rows, found, faults)
    if {"messages", "text"} & set(found.parts):
        return demos(rows, found, faults)
    return prompts(rows, found, faults)


def texts_of(item: Item) -> tuple[str, ...]:
    """An item's texts, the prompt first. Two items with the same texts are duplicates."""
    if isinstance(item, Pair):
        return item.prompt, item.chosen, item.rejected
    if isinstance(item, Prompt):
        return (item.prompt,)
    return item.prompt, item.response if isinstance(item, Scored) else item.completion


def size_of(texts: tuple[str, ...]) -> int:
    """Characters of a prompt and its completion, the longer one of two."""
    return len(texts[0]) + max((len(t) for t in texts[1:]), default=0)
