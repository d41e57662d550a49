"""`assay check`: what a data file is, and every fault in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay import data
from assay.data.label_lines import label_says
from assay.engine.plural import counted


def check(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[str, str] | None = None,
    split: str | None = None,
    score: str | None = None,
    limit: int | None = None,
    against: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Say what a data file is, and find every fault in it.

    Args:
        path: A file, a folder that `datasets` saved, or a hub name.
        columns: The file's column for each part, such as {"prompt": "question"}.
        label_map: What the label column's values stand for, such as 1=first,0=second: first,
            second, tie, drop, or the probability that the first one is better; for scores numbers.
        split: Which part of a dataset with several.
        score: The numeric column of scored responses.
        limit: Most characters of prompt plus completion.
        against: Other files, whose prompts must not be in this one.

    Returns:
        Kind, size and faults by row and column; `ok` is False if any fault is an error.

    Raises:
        InputError: The file cannot be opened or understood.
    """
    how: dict[str, Any] = {"split": split, "score": score, "limit": limit}
    return looked(path, {"columns": columns, "label_map": label_map}, against, **how)[1]


def looked(
    path: str | Path, named: Mapping[str, Any], against: Sequence[str | Path], **how: Any
) -> tuple[data.Scan, dict[str, Any]]:
    """Read a file as `check` does.

    Args:
        path: See `check`.
        named: `columns` and `label_map`, which the other files have too.
        against: See `check`.
        how: The other arguments of `check`.

    Returns:
        The scan, and what `check` returns.
    """
    mine = data.scan_file(path, **named, **how, tell=False)
    shared = {
        str(other): data.leaks(mine, data.scan_file(other, **named, tell=False))
        for other in against
    }
    return mine, {**mine.plain(), "shared_prompts": shared}


def says(found: Mapping[str, Any]) -> list[str]:
    """The result of `check` as lines for a person."""
    parts = ", ".join(
        f"{part} = {column}" if part != column else part for part, column in _parts(found).items()
    )
    groups = found["rows_a_prompt"]
    a_prompt = (
        ""
        if groups["most"] <= 1
        else f", {groups['least']}–{groups['most']} a prompt"
        if groups["ragged"]
        else f", {groups['most']} a prompt"
    )
    lines = [
        f"{found['file']}: {found['kind']} ({found['format']}); {parts}",
        f"{counted(found['rows'], 'row')}, {found['usable']:,} usable, "
        f"{counted(found['prompts'], 'prompt')}{a_prompt}",
    ]
    if found["characters"]:
        lines.append(
            f"prompt and completion: {found['characters']['median']:,} characters (median), "
            f"{found['characters']['most']:,} at most"
        )
    if found["conversations"]:
        many = found["conversations"] != 1
        lines.append(
            f"{counted(found['conversations'], 'row')} {'are' if many else 'is'} read as "
            f"{'conversations' if many else 'a conversation'}: a reward function gets lists of "
            "messages there"
        )
    lines += label_says(found["label"])
    lines += found["apart"]
    if found["not_read"]:
        some = (f"{what} ({n:,})" for what, n in found["not_read"].items())
        given = found["kind"] == "prompts" and found["others"]
        rest = "; reward functions get the columns" if given else ""
        lines.append(f"not read: {', '.join(some)}{rest}")
    for name in ("errors", "warnings"):
        lines += [
            f"{name[:-1]}: {count:,} × {kind}"
            for kind, count in sorted(found[name].items(), key=lambda kc: -kc[1])
        ]
    lines += [f"  {f['says']}" for f in found["faults"]]
    left = sum(found["errors"].values()) - sum(f["error"] for f in found["faults"])
    if left > 0:
        lines.append(f"  … and {left:,} more errors")
    return lines


def _parts(found: Mapping[str, Any]) -> dict[str, str]:
    """The columns by part; the prompt's are one sum, in the order in which they are joined."""
    whole = found["prompt"]
    if len(whole) < 2:
        return dict(found["parts"])
    rest = {part: column for part, column in found["parts"].items() if column not in whole}
    return {("prompt" if "prompt" in found["parts"] else "dialogue"): " + ".join(whole), **rest}
