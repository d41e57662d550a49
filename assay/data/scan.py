"""Read a whole data file once: its kind, its size and every fault."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assay.data.faults import SHOWN, Faults
from assay.data.items import read_items, size_of, texts_of
from assay.data.kinds import Layout, layout
from assay.data.label_lines import SHOWN as LABELS_SHOWN
from assay.data.label_lines import label_of
from assay.data.labels import labelled
from assay.data.notices import apart, notices, prompt_columns
from assay.data.pairs import DROPPABLE
from assay.data.ratings import contradicts, ratings
from assay.data.read import Source, open_source
from assay.data.seen import Seen
from assay.errors import InputError

log = logging.getLogger("assay")
PEEK = 100  # first rows, from which the kind is inferred


@dataclass
class Scan:
    """A file that was read once.

    Attributes:
        source: The file and its format.
        layout: Its kind and its columns.
        faults: Its errors and warnings.
        rows: All its rows.
        usable: Rows without an error that are not left out.
        characters: How many rows have each length.
        seen: Hashes that find repeated rows and prompts.
        conversations: How many of its prompts are conversations.
        items: Its pairs, responses or texts, if they were kept.
        first: Its first pairs or responses.
    """

    source: Source
    layout: Layout
    faults: Faults
    rows: int = 0
    usable: int = 0
    characters: Counter[int] = field(default_factory=Counter)
    seen: Seen = field(default_factory=Seen)
    conversations: int = 0
    items: list[Any] = field(default_factory=list)
    first: list[Any] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """The scan as JSON has it."""
        sizes, groups = sorted(self.characters.items()), self.seen.groups()
        least, most = (int(groups.min()), int(groups.max())) if len(groups) else (0, 0)
        return {
            "file": self.source.name,
            "format": self.source.format,
            "kind": self.layout.kind,
            "parts": self.layout.parts,
            "label": label_of(self.layout, self.first),
            "prompt": list(prompt_columns(self.layout)),
            "columns": list(self.layout.columns),
            "numeric": list(self.layout.numeric),
            "others": list(self.layout.others),
            "rows": self.rows,
            "usable": self.usable,
            "prompts": len(groups),
            "conversations": self.conversations,
            "rows_a_prompt": {"least": least, "most": most, "ragged": least < most},
            "characters": {"median": _middle(sizes), "most": sizes[-1][0]} if sizes else None,
            "errors": dict(self.faults.errors),
            "warnings": dict(self.faults.warnings),
            "apart": apart(self.layout, self.faults),
            "not_read": dict(self.faults.unread),
            "faults": [
                {**f.plain(), "says": str(f)} for f in (*self.faults.shown, *self.faults.warned)
            ],
            "shown_at_most": SHOWN,
            "ok": not self.faults.errors,
        }


def _middle(sizes: list[tuple[int, int]]) -> int:
    """The upper median of (value, how often), ascending."""
    half, below = sum(n for _, n in sizes) // 2, 0
    for value, n in sizes:
        below += n
        if below > half:
            return value
    raise ValueError("there are no sizes, and so no median")


def scan_file(
    path: str | Path | Source,
    *,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[Any, Any] | None = None,
    split: str | None = None,
    want: str | None = None,
    score: str | None = None,
    limit: int | None = None,
    drop: bool = False,
    keep: bool = False,
    tell: bool = True,
) -> Scan:
    """Read a whole data file once.

    Only a file that cannot be opened or understood raises; every other fault is in `faults`.

    Args:
        path: A file, a folder that `datasets` saved, a hub name, or rows in memory.
        columns: The file's column for each part, such as {"prompt": "question"}.
        label_map: What the label column's values stand for, such as {1: "first", 0: "second"}.
        split: Which part of a dataset with several.
        want: The kind that is needed; None for whatever the file is.
        score: The numeric column of scored responses.
        limit: Most characters of prompt plus completion. Longer rows are left out and counted; if
            all rows are longer, it is an error.
        drop: Leave rows with faults out and count them, instead of treating them as errors.
        keep: Keep the items.
        tell: Log what was joined, left out and not read, see `notices`.

    Returns:
        What the file is.

    Raises:
        InputError: The file cannot be opened or understood, or it has no rows.
    """
    source = open_source(path, split=split)
    faults = Faults(source.name, source.line)
    stream = source.rows(faults)
    first = list(itertools.islice(stream, PEEK))
    if not first:
        faults.stop()
        raise InputError(f"{source.name} has no rows; give a file with at least one")
    found = layout([r for _, r in first], source.name, columns=columns, want=want, score=score)
    found = labelled(found, source, label_map, faults)
    rated = ratings(found.columns) if found.kind == "pairs" else None
    out = Scan(source, found, faults)
    if found.advice:
        what, _, cure = found.advice.partition("; ")
        faults.warn("several completions a row", None, None, what, cure)

    def counted() -> Iterator[tuple[int, dict[str, Any]]]:
        for item in itertools.chain(first, stream):
            out.rows += 1
            if rated is not None and (what := contradicts(item[1], rated)):
                faults.warn(
                    "rejected is rated higher",
                    item[0],
                    rated[1],
                    what,
                    "the pair is read as it stands; check which completion is the better one",
                )
            yield item

    _walk(read_items(counted(), found, faults), out, limit, keep)
    _whole(out, limit)
    if drop:
        faults.forgiven(DROPPABLE)
    if not out.usable and not faults.errors:
        faults.error(
            "nothing left", None, None, f"none of its {out.rows:,} rows can be used", "repair them"
        )
    if tell:
        for line in notices(found, faults):
            log.warning(line, extra={"once": line})
    return out


def _walk(items: Iterator[Any], out: Scan, limit: int | None, keep: bool) -> None:
    """Count lengths, duplicates and prompts; keep what is usable."""
    characters, seen, faults = out.characters, out.seen, out.faults
    comparison = out.layout.kind in ("pairs", "choices")
    for item in items:
        row, texts = item.row, texts_of(item)
        size = size_of(texts)
        characters[size] += 1
        if limit is not None and size > limit:
            faults.warn(
                "longer than the limit",
                row,
                None,
                f"{size:,} characters, the limit is {limit:,}",
                "such rows are left out; raise the limit or shorten them",
            )
            continue
        seen.add(row, texts, comparison=comparison)
        out.conversations += item.turns is not None
        if len(out.first) < LABELS_SHOWN and (comparison or out.layout.kind == "scored"):
            out.first.append(item)
        if keep:
            out.items.append(item)
    out.usable = len(seen)
    for kind, rows, found, cure in zip(
        ("duplicated row", "contradicted row"),
        seen.repeats(),
        (
            "an earlier row has the same texts",
            "an earlier row prefers the other of the same two completions",
        ),
        ("remove one of them", "both are kept: together they count as a close comparison"),
        strict=True,
    ):
        if len(rows):
            faults.warn(kind, int(rows[0]), None, found, cure, times=len(rows))


def _whole(out: Scan, limit: int | None) -> None:
    """Report what is an error only if it is true of all rows."""
    faults, warned, read = out.faults, out.faults.warnings, sum(out.characters.values())
    if out.usable:
        return
    if warned["longer than the limit"] and warned["longer than the limit"] == read:
        faults.error(
            "all longer than the limit",
            None,
            None,
            f"all {read:,} usable rows are longer than the limit of {limit:,} characters",
            "raise the limit or shorten the texts",
        )
    if warned["chosen equals rejected"] and not out.characters:
        faults.error(
            "all chosen equal rejected",
            None,
            out.layout.parts.get("rejected") or out.layout.parts.get("second"),
            f"both completions are the same text in all {warned['chosen equals rejected']:,} rows",
            "check that the file was written with both completions",
        )


def leaks(mine: Scan, other: Scan) -> int:
    """Distinct prompts that two files share.

    Args:
        mine: A scan; the leak is counted among its warnings.
        other: The scan that it is compared with.

    Returns:
        How many.
    """
    prompts = mine.seen.prompts()
    both = len(np.intersect1d(prompts, other.seen.prompts(), assume_unique=True))
    if both:
        mine.faults.warn(
            "prompt in both splits",
            None,
            mine.layout.parts.get("prompt"),
            f"{both:,} of its {len(prompts):,} prompts are also in {other.source.name}",
            "a model fitted on one and evaluated on the other has seen these prompts",
            times=both,
        )
    return both
