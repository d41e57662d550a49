"""Read the items of a data file one at a time, each with the other columns of its row."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.data.demos import demos
from assay.data.desirable import by_label
from assay.data.faults import Faults
from assay.data.kinds import layout
from assay.data.labels import labelled
from assay.data.notices import notices
from assay.data.pairs import DROPPABLE, pairs
from assay.data.prompt_cells import prompts
from assay.data.prompt_columns import JOINED
from assay.data.read import open_source
from assay.data.text_rows import Row
from assay.errors import InputError

log = logging.getLogger("assay")
PEEK = 100  # first rows, from which the kind is inferred
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
    drop: bool | None = None,
    rewarded: bool = True,
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
        drop: Leave rows with faults out and count them; None where the caller has no such flag.
        rewarded: Whether reward functions get the other columns.

    Yields:
        (item, the row's other columns). The item is a Pair, a Demo or a Prompt.

    Raises:
        InputError: The file cannot be read, or has faults. All rows are read first, and the error
            counts all faults.
    """
    source = open_source(path, split=split)
    faults = Faults(source.name, source.line, drops=drop is not None)
    rows = source.rows(faults)
    first = list(itertools.islice(rows, PEEK))
    if not first:
        faults.stop()
        raise InputError(f"{source.name} has no rows; give a file with at least one")
    some = [r for _, r in first]
    there = {k for r in some for k in r}
    renamed = {k: v for k, v in (columns or {}).items() if unused is None or v in there or v == ""}
    if unused is not None:
        unused.difference_update(renamed)
    found = layout(
        some, source.name, columns=renamed, want=kind if kind in ("pairs", "prompts") else None
    )
    if kind == "pairs":
        found = labelled(found, source, label_map)
    elif kind == "demonstrations":
        found = by_label(found, renamed)
    last: Row = {}
    told = ("prompt", "messages", "text")  # columns of joined parts go to reward functions too
    used = set(found.parts.values()) if kind == "pairs" else {found.parts.get(k) for k in told}
    used -= {found.parts.get(k) for k in JOINED}

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
        items = prompts(each(), found, faults)
    else:
        raise InputError(
            f"{source.name} has the columns {', '.join(found.columns)}, which do not make "
            f"{_WANT[kind]}; name them with --columns "
            f"{'prompt' if kind == 'prompts' else 'response'}=NAME"
        )
    for item in items:
        yield item, {k: v for k, v in last.items() if k not in used}
    if drop:
        faults.forgiven(DROPPABLE)
    faults.stop()
    for line in notices(found, faults, rewarded=rewarded):
        log.warning(line, extra={"once": line})
