"""Fresh prompts for the watch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from assay.core import EncodesText, Missing, Prompts, PromptTexts, Task, require
from assay.data.stream import stream
from assay.data.turns import Turns
from assay.errors import InputError

TABLES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".gz")  # files with columns


def unique_prompts(prompts: Prompts) -> Prompts:
    """Leave out prompts whose text an earlier one has: two labels of one prompt are one outcome."""
    try:
        texts = prompts.text()
    except Missing:
        return prompts
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    return prompts if len(first) == len(texts) else prompts[torch.tensor(sorted(first.values()))]


def read_prompts(file: str, task: Task) -> Prompts:
    """The prompts of a file: of a text file one a line, of any other as `--prompts` has them.

    They are encoded as the world encodes its own, and read by those who judge as they stand in the
    file, with its other columns.

    Args:
        file: The file; its ending says whether it has columns (`TABLES`).
        task: Encodes them.

    Raises:
        InputError: The file is missing, cannot be read, has no prompt, or has one twice.
    """
    if not Path(file).exists():
        raise InputError(
            f"there is no file {file}; --watch.prompts is a text file of fresh prompts, one a "
            "line, or a file with a column of prompts"
        )
    rows = _rows(file) if Path(file).suffix in TABLES else [(x, None, {}) for x in _lines(file)]
    texts, turns = [text for text, _, _ in rows], [said for _, said, _ in rows]
    if len(set(texts)) < len(texts):
        twice = next(text for i, text in enumerate(texts) if text in texts[:i])
        raise InputError(
            f"{file} holds '{twice[:60]}' twice, and a prompt is used once; leave one of the two "
            "out"
        )
    names = dict.fromkeys(name for _, _, row in rows for name in row)
    columns = {name: [row.get(name) for _, _, row in rows] for name in names}
    own = task.prompts.decode
    if isinstance(own, PromptTexts) and own.encode is not None:
        made = own.encode(texts, turns)
        decode = replace(own, texts=texts, turns=turns, columns=columns)
        return replace(made, row=torch.arange(len(rows)), decode=decode)
    by = require(task.reference, EncodesText, "--watch.prompts")
    return replace(by.encode(texts, [[""] for _ in rows]).prompts, row=torch.arange(len(rows)))


def _rows(file: str) -> list[tuple[str, Turns | None, dict[str, Any]]]:
    """Text, conversation and other columns of each prompt of a file with columns."""
    return [(x.prompt, x.turns, dict(row)) for x, row in stream(file, "prompts")]


def _lines(file: str) -> list[str]:
    """The lines of a text file that are not empty."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as why:
        raise InputError(
            f"{file} is not UTF-8 text (byte {why.start}); save it as UTF-8, one prompt a line"
        ) from why
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(
            f"{file} holds no prompt; --watch.prompts is a text file of fresh prompts, one a line"
        )
    return lines
