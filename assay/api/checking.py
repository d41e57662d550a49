"""`assay check`: what a data file is, a repaired copy of it, its rows as they are trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.data import summary
from assay.data.model_trust import trusting
from assay.data.repair import repair
from assay.data.row_parts import first_rows, plain
from assay.errors import InputError


def check(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[str, str] | None = None,
    split: str | None = None,
    score: str | None = None,
    limit: int | None = None,
    against: Sequence[str | Path] = (),
    fix: str | None = None,
    show: int = 0,
    model: str | None = None,
    chat: bool = True,
    templated: Sequence[str] = (),
    max_prompt: int = 512,
    max_tokens: int = 128,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Say what a data file is, repair it, and show its rows as they are trained on.

    Args:
        path: A file, a folder that `datasets` saved, or a hub name.
        columns: The file's column for each part, such as prompt=question.
        label_map: What the label column's values stand for, such as 1=first,0=second: first,
            second, tie, drop, or the probability that the first one is better; for scores numbers.
        split: Which part of a dataset with several.
        score: The numeric column of scored responses.
        limit: Most characters of prompt plus completion.
        against: Other files, whose prompts must not be in this one.
        fix: Write a repaired copy to this file; what is changed or left out is counted.
        show: Print this many usable rows as they are read or, with --model, as they are trained on.
        model: A Hugging Face model id or a local folder, whose tokenizer and chat template --show
            uses.
        chat: For --show: put conversations through the chat template, and texts too where the
            tokenizer has one.
        templated: For --show: parts of the rows that a chat template wrote already, such as prompt:
            their special tokens are special tokens, and no template is applied.
        max_prompt: For --show: most tokens of a prompt.
        max_tokens: For --show: most tokens of a completion.
        trust_remote_code: For --show: run Python code that comes with the model (auto_map).

    Returns:
        What `assay.data.summary.check` returns; with `fix` a part "fix", see
        `assay.data.repair.repair`; with `show` a part "show", a list of rows.

    Raises:
        InputError: The file cannot be opened or understood, `fix` names a file that exists, or the
            model has no tokenizer.
    """
    if show < 0:
        raise InputError(f"--show is {show}; give the number of rows to print")
    if model and not show:
        raise InputError("--model is for --show, which prints rows as a model gets them")
    named: dict[str, Any] = {"columns": columns, "label_map": label_map}
    how: dict[str, Any] = {"split": split, "score": score, "limit": limit}
    scan, found = summary.looked(path, named, against, **how)
    if fix is not None:
        found["fix"] = repair(path, fix, **named, **how, against=against)
    if show:
        rows = [*first_rows(scan, show, limit)]
        found["show"] = [plain(scan.layout.kind, row) for row in rows]
        if model:
            from assay.worlds.row_tokens import row_tokens

            with trusting(trust_remote_code):
                encoded = row_tokens(
                    model,
                    rows,
                    chat=chat,
                    max_prompt=max_prompt,
                    max_tokens=max_tokens,
                    templated=templated,
                    file=found["file"],
                )
            for one, tokens in zip(found["show"], encoded, strict=True):
                one["tokens"] = tokens
    return found
