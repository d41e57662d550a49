"""Read the items of a data file one at a time, each with the other columns of its row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.data.demos import demos
from assay.data.faults import Faults
from assay.data.kinds import Layout, layout
from assay.data.labels import labelled
from assay.data.pairs import pairs
from assay.data.read import open_source
from assay.data.scored import text_of
from assay.data.text_rows import Row
from assay.data.turns import Turns
from assay.errors import InputError

PEEK = 100  # first rows, from which the kind is inferred
Prompt = tuple[str, Turns | None]
_WANT = {
    "pairs": "preference pairs (prompt, chosen, rejected)",
    "prompts": "prompts",
    "demonstrations": "demonstrations (prompt and response, messages, or text)",
}


def stream(
    path: str | Path,
    kind: str,
    *,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[Any, Any] | None = None,
    split: str | None = None,
    unused: set[str] | None = None,
) -> Iterator[tuple[Any, Row]]:
    """Read a file's items one at a time.

    Args:
        path: A file, a folder that `datasets` saved, or a hub name.
        kind: "pairs", "demonstrations" or "prompts". Any file with a prompt column has prompts.
        columns: The file's column for each part, such as {"prompt": "question"}.
        label_map: What the label column of pairs says, such as {1: "first", 0: "second"}.
        split: Which part of a dataset with several.
        unused: Parts of `columns` that no file has had yet. If it is given, one mapping can serve
            several files: columns that this file lacks are ignored, and the parts that it has are
            removed from `unused`.

    Yields:
        (item, the row's other columns). The item is a Pair, a Demo, or (text, turns) of a prompt.

    Raises:
        InputError: The file cannot be read, or has faults. All rows are read first, and the error
            counts all faults.
    """
    source = open_source(path, split=split)
    faults = Faults(source.name, source.line, drops=False)
    rows = source.rows(faults)
    first = list(itertools.islice(rows, PEEK))
    if not first:
        faults.stop()
        raise InputError(f"{source.name} has no rows; give a file with at least one")
    some = [r for _, r in first]
    there = {k for r in some for k in r}
    renamed = {k: v for k, v in (columns or {}).items() if unused is None or v in there}
    if unused is not None:
        unused.difference_update(renamed)
    found = layout(some, source.name, columns=renamed, want="pairs" if kind == "pairs" else None)
    if kind == "pairs":
        found = labelled(found, source, label_map)
    last: Row = {}
    used = (
        set(found.parts.values())
        if kind == "pairs"
        else {found.parts.get(k) for k in ("prompt", "messages", "text")}
    )

    def each() -> Iterator[tuple[int, Row]]:
        nonlocal last
        for i, row in itertools.chain(first, rows):
            last = row
            yield i, row

    items: Iterator[Any]
    if kind == "pairs":
        items = pairs(each(), found, faults)
    elif kind == "demonstrations" and not {"response", "messages", "text"}.isdisjoint(found.parts):
        items = demos(each(), found, faults)
    elif kind == "prompts" and "prompt" in found.parts:
        items = _prompts(each(), found, faults)
    else:
        raise InputError(
            f"{source.name} has the columns {', '.join(found.columns)}, which do not make "
            f"{_WANT[kind]}; name them with --columns "
            f"{'prompt' if kind == 'prompts' else 'response'}=NAME"
        )
    for item in items:
        yield item, {k: v for k, v in last.items() if k not in used}
    faults.stop()


def _prompts(rows: Iterator[tuple[int, Row]], found: Layout, faults: Faults) -> Iterator[Prompt]:
    column = found.parts["prompt"]
    for i, row in rows:
        cell = text_of(i, row, column, faults)
        if cell is not None and not cell[0].strip():
            faults.error("empty text", i, column, "an empty prompt", "repair the row")
        elif cell is not None:
            yield cell
