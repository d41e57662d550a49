"""Fresh prompts for the watch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from assay.core import EncodesText, Missing, Prompts, Task, require
from assay.errors import InputError


def unique_prompts(prompts: Prompts) -> Prompts:
    """Leave out prompts whose text an earlier one has: two labels of one prompt are one outcome."""
    try:
        texts = prompts.text()
    except Missing:
        return prompts
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    return prompts if len(first) == len(texts) else prompts[torch.tensor(sorted(first.values()))]


def read_prompts(file: str, task: Task) -> Prompts:
    """The prompts of a text file, one a line.

    Args:
        file: The file.
        task: Encodes them.

    Raises:
        InputError: The file is missing, is not UTF-8, has no prompt, or has one twice.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError(
            f"there is no file {file}; --watch.prompts is a text file of fresh prompts, one a line"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as why:
        raise InputError(
            f"{file} is not UTF-8 text (byte {why.start}); save it as UTF-8, one prompt a line"
        ) from why
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(
            f"{file} holds no prompt; --watch.prompts is a text file of fresh prompts, one a line"
        )
    if len(set(lines)) < len(lines):
        twice = next(line for i, line in enumerate(lines) if line in lines[:i])
        raise InputError(
            f"{file} holds '{twice[:60]}' twice, and a prompt is used once; leave one of the two "
            "out"
        )
    texts = require(task.reference, EncodesText, "--watch.prompts")
    encoded = texts.encode(lines, [[""] for _ in lines]).prompts
    return replace(encoded, row=torch.arange(len(lines)))
