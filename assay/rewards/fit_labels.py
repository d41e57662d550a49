"""The labels that a reward is fitted to or evaluated on, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from assay import data
from assay.data.score_column import asks
from assay.errors import InputError


def labels(
    path: str | Path | data.Source,
    *,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[Any, Any] | None = None,
    split: str | None = None,
    score: str | None = None,
    limit: int | None = None,
    drop: bool = False,
) -> data.Scan:
    """Read pairs or scored responses and keep them.

    Args:
        path: A file, a folder that `datasets` saved, a hub name, or rows in memory.
        columns: The file's column for each part, such as {"prompt": "question"}.
        label_map: What the label column's values stand for, such as {"1": "first", "0": "second"}.
        split: Which part of a dataset with several.
        score: The column of scored responses.
        limit: Most characters of prompt plus completion.
        drop: Leave rows with faults out and count them.

    Returns:
        What was read.

    Raises:
        InputError: The file or a row cannot be used, or it holds other things.
    """
    found = data.scan_file(
        path,
        columns=columns,
        label_map=label_map,
        split=split,
        want="scored" if score else None,
        score=score,
        limit=limit,
        drop=drop,
        keep=True,
    )
    found.faults.stop()
    name, kind = found.source.name, found.layout.kind
    if kind not in ("pairs", "choices", "scored"):
        numbers = [c for c in found.layout.numeric if c in found.layout.others]
        if "response" in found.layout.parts and numbers:
            first = [row for _, row in islice(found.source.rows(data.Faults(name)), data.PEEK)]
            raise InputError(asks(first, numbers, name, "no column has the name of a score"))
        raise InputError(
            f"{name} holds {kind} ({', '.join(found.layout.columns)}), and a reward is fitted to "
            "pairs (prompt, chosen, rejected) or to scored responses (prompt, response and a "
            "number: --score COLUMN)"
        )
    return found


def other_columns(found: data.Scan, rows: Sequence[int]) -> dict[str, list[Any]]:
    """Return the columns that are neither prompt nor completion, for rewards that read them.

    Args:
        found: A file that was read.
        rows: Row numbers, in any order and as often as wanted.

    Returns:
        One value a row by column; None where a row lacks the column.
    """
    texts = {c for part, c in found.layout.parts.items() if part in _TEXTS}
    names = [c for c in found.layout.columns if c not in texts]
    if not names:
        return {}
    wanted = set(rows)
    source = found.source
    every = {i: row for i, row in source.rows(data.Faults(source.name, source.line)) if i in wanted}
    return {name: [every[i].get(name) for i in rows] for name in names}


_TEXTS = ("prompt", "chosen", "rejected", "first", "second", "response")
