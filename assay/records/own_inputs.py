"""The files that a run keeps of what came from Python.

A record names them `{run}/inputs/…`, where `{run}` stands for the run's folder, so that a run may
be moved and renamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.errors import InputError

_PYTHON_FILE = re.compile(r"[^=,:\0]+\.py\b")
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
    if isinstance(value, Mapping):
        return {k: by_content(v, digests) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [by_content(v, digests) for v in value]
    digest = digests.get(value) if isinstance(value, str) and value.startswith(OWN) else None
    return f"{value.removeprefix(OWN)} {digest[:12]}" if digest else value


def no_code_inside(about: Mapping[str, Any], folder: Path | str) -> None:
    """Refuse a record that names Python files of its own folder.

    Going on with a run imports the Python files that its record names. A digest in the record
    proves nothing, because who sends a folder writes both.

    Args:
        about: The run's record.
        folder: The run's folder.

    Raises:
        InputError: A Python file lies in the folder.
    """
    inside = Path(folder).resolve()
    named = [about.get(k) for k in ("path", "recipe", "world", "fit", "watch", "arguments")]
    for text in _texts(expanded([v for v in named if v], folder)):
        for file in _PYTHON_FILE.findall(text):
            if Path(file).resolve().is_relative_to(inside):
                raise InputError(
                    f"{folder} names the Python file {file}, which lies in the run's own folder: "
                    "its code came with the run and is not executed; read it, and move it to "
                    "another place if you want to run it"
                )


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from _texts(v)
    elif isinstance(value, str):
        yield value
