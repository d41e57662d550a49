"""The files that a run keeps of what came from Python, named by what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

INPUTS = "inputs"  # the folder of a run that holds what came from Python


def by_content(value: Any, folder: Path, digests: Mapping[str, str | None]) -> Any:
    """Return a world's arguments with a run's own files named by their content.

    Rows from Python are written into the folder of each run. Runs of the same rows then name
    different files, and are in the same world all the same.

    Args:
        value: The arguments as the record has them.
        folder: The run's folder.
        digests: The record's digests by path.

    Example:
        >>> world = {"prompts": "runs/a/inputs/prompts.jsonl", "chat": True}
        >>> by_content(world, Path("runs/a"), {"runs/a/inputs/prompts.jsonl": "0123456789abcdef"})
        {'prompts': 'prompts.jsonl 0123456789ab', 'chat': True}
    """
    if isinstance(value, Mapping):
        return {k: by_content(v, folder, digests) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [by_content(v, folder, digests) for v in value]
    if not isinstance(value, str) or value not in digests:
        return value
    path = Path(value)
    own = path.parent.name == INPUTS and path.parent.parent.name == folder.name
    digest = digests[value]
    return f"{path.name} {digest[:12]}" if own and digest else value
