"""A scored file as numbers: rows grouped by prompt, one column a score."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay import data
from assay.data.column_errors import missing
from assay.data.pairs import DROPPABLE
from assay.data.prompt_cells import PromptCells
from assay.data.scored import completed
from assay.data.verdicts import finite
from assay.errors import InputError

log = logging.getLogger("assay")
Group = list[tuple[str, list[float]]]  # of one prompt: each completion's text and numbers


@dataclass
class Table:
    """A scored file, grouped by prompt.

    Attributes:
        columns: `[B,N]` numbers by the column's name.
        present: `[B,N]`, False where a prompt has fewer completions.
        repeated: Completions whose text stands more than once among its prompt's.
        faults: What is wrong with the file.
        rows: Rows of the file.
    """

    columns: dict[str, Float[Tensor, "B N"]]
    present: Bool[Tensor, "B N"]
    repeated: int
    faults: data.Faults
    rows: int


def read_table(
    path: str | Path,
    gold: str,
    proxies: Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    drop: bool = False,
) -> Table:
    """Read a scored file.

    Args:
        path: The file.
        gold: The column of gold.
        proxies: The columns of proxies; "length" is the completion's length if no column is named
            so.
        columns: Other names of the columns, e.g. `{"prompt": "question"}`.
        split: Of a folder with several.
        drop: Leave out rows that cannot be used, instead of refusing the file.

    Returns:
        The table, with every fault of the columns that are asked for.

    Raises:
        InputError: A column is not there, a row cannot be used, or no row is left.
    """
    source = data.open_source(path, split=split)
    faults = data.Faults(source.name, source.line)
    groups, rows, texts = _groups(source, faults, (gold, *proxies), columns)
    if drop:
        faults.forgiven(DROPPABLE)
    faults.stop()
    if faults.not_read():
        log.warning("%s: not read: %s", source.name, faults.not_read())
    if not groups:
        raise InputError(
            f"{source.name} holds no row that can be used; give a file with a prompt, '{gold}' and "
            f"{', '.join(proxies)}"
        )
    sizes = {len(g) for g in groups.values()}
    if len(sizes) > 1:
        few = sum(len(g) < max(sizes) for g in groups.values())
        faults.warn(
            "ragged groups",
            None,
            None,
            f"{few:,} of {len(groups):,} prompts have fewer than {max(sizes)} completions "
            f"(least {min(sizes)})",
            "an n that a prompt does not reach is a mean over the other prompts; best_of_all is "
            "over every prompt",
            times=few,
        )
    wide = torch.zeros(1 + len(proxies), len(groups), max(sizes), dtype=torch.float64)
    present = torch.zeros(len(groups), max(sizes), dtype=torch.bool)
    for b, group in enumerate(groups.values()):
        wide[:, b, : len(group)] = torch.tensor([x for _, x in group], dtype=torch.float64).T
        present[b, : len(group)] = True
    repeated = sum(len(g) - len({t for t, _ in g}) for g in groups.values()) if texts else 0
    return Table(dict(zip((gold, *proxies), wide, strict=True)), present, repeated, faults, rows)


def _no_scores(name: str, row: Mapping[str, Any], file: str) -> InputError:
    """The error for a column of gold or of a proxy that is not there."""
    why = missing(name, row, file)
    if name != "proxy":
        return why
    return InputError(
        f"{why}. assay score writes that column; --proxy COLUMN takes another one, and --proxy "
        "length the completion's length"
    )


def _groups(
    source: data.Source,
    faults: data.Faults,
    names: Sequence[str],
    columns: Mapping[str, str] | None,
) -> tuple[dict[str, Group], int, bool]:
    """The usable rows by prompt, how many rows there are, and whether completions have a text."""
    cells: PromptCells | None = None
    said: str | None = None
    groups: dict[str, Group] = {}
    rows = 0
    for i, row in source.rows(faults):
        rows += 1
        if cells is None:
            score = names[0] if names[0] in row else None
            found = data.layout([row], source.name, columns=columns, score=score)
            if "prompt" not in found.parts:
                raise missing("prompt", row, source.name)
            cells, said = PromptCells(found, faults), found.parts.get("response")
            cells.read.update(names)
            for name in names:
                if name not in row and not (name == "length" and said):
                    raise _no_scores(name, row, source.name)
        cells.count_unread(row)
        text = _texts(i, row, cells, said, faults)
        numbers = [
            float(len(text[1]))
            if n == "length" and "length" not in row and text
            else finite(i, row.get(n), n, faults)
            for n in names
        ]
        if text is None or any(x is None for x in numbers):
            continue
        groups.setdefault(text[0], []).append(
            (text[1], [float(x) for x in numbers if x is not None])
        )
    return groups, rows, said is not None


def _texts(
    i: int, row: dict[str, Any], cells: PromptCells, said: str | None, faults: data.Faults
) -> tuple[str, str] | None:
    """A row's prompt and completion as text, as every reader has them; None for a faulty row."""
    prompt = cells.prompt(i, row)
    if said is None:
        return None if prompt is None else (prompt.text, "")
    reply = cells.cell(i, row, said)
    if prompt is None or reply is None:
        return None
    both = completed(i, said, prompt, reply, faults)
    return None if both is None else (both[0].text, both[1].text)
