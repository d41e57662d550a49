"""The files that a run keeps of what came from Python.

A record names them `{run}/inputs/…`, where `{run}` stands for the run's folder, so that a run may
be moved and renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

INPUTS = "inputs"  # the folder of a run that holds what came from Python
OWN = f"{{run}}/{INPUTS}/"  # how a record's names of these files begin
WEIGHTS = "weights of "  # before a live model's name, among a record's inputs
SOURCE = "source of "  # before the name of a function that only its Python program has


def expanded(value: Any, folder: Path | str) -> Any:
    """Return a record's value with the run's own files where they lie.

    Args:
        value: Text, or lists and dicts with text in them.
        folder: The run's folder.

    Example:
        >>> expanded({"prompts": "{run}/inputs/prompts.jsonl"}, "runs/a")
        {'prompts': 'runs/a/inputs/prompts.jsonl'}
    """
    if isinstance(value, Mapping):
        return {expanded(k, folder): expanded(v, folder) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(expanded(v, folder) for v in value)
    if not isinstance(value, str) or not value.startswith(OWN):
        return value
    # a record may come from others: no name in it leads out of the run's folder
    parts = [p for p in Path(value.removeprefix(OWN)).parts if p not in ("..", "/")]
    return str(Path(folder) / INPUTS / Path(*parts))


def by_content(value: Any, digests: Mapping[str, str | None]) -> Any:
    """Return a world's arguments with a run's own files named by their content.

    Runs of the same rows keep a file each, and are in the same world all the same.

    Args:
        value: The arguments as the record has them.
        digests: The record's digests by name.

    Example:
        >>> world = {"prompts": "{run}/inputs/prompts.jsonl", "chat": True}
        >>> by_content(world, {"{run}/inputs/prompts.jsonl": "0123456789abcdef"})
        {'prompts': 'prompts.jsonl 0123456789ab', 'chat': True}
    """

    def named(word: str) -> str:
        digest = digests.get(word) if word.startswith(OWN) else None
        return f"{word.removeprefix(OWN)} {digest[:12]}" if digest else word

    return _renamed(value, named)


def wherever_kept(value: Any, digests: Mapping[str, str | None]) -> Any:
    """Return a world's arguments with every file named by its content alone.

    The same file at another path, or on another machine, is the same world. A path without a digest
    stays as it is.

    Args:
        value: The arguments as the record has them.
        digests: The record's digests by path.

    Example:
        >>> wherever_kept(["/home/a/gold.py:mine", 0.5], {"/home/a/gold.py": "0123"})
        ['0123:mine', 0.5]
    """

    def named(word: str) -> str:
        if digest := digests.get(word):
            return digest
        file, colon, name = word.rpartition(":")
        digest = digests.get(file)
        return f"{digest}:{name}" if colon and digest else word

    return _renamed(value, named)


def _renamed(value: Any, named: Callable[[str], str]) -> Any:
    """The same arguments, every word of them by another name."""
    if isinstance(value, Mapping):
        return {k: _renamed(v, named) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_renamed(v, named) for v in value]
    return named(value) if isinstance(value, str) else value
