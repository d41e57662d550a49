"""What a world fitted once, on disk: so that a second run with the same arguments starts at once."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from assay import __version__
from assay.engine import checkpoint, parallel
from assay.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
log = logging.getLogger("assay")


def folder() -> Path:
    """$ASSAY_CACHE, or ~/.cache/assay."""
    return Path(os.environ.get("ASSAY_CACHE") or Path.home() / ".cache" / "assay")


@functools.cache
def sources(module: str) -> tuple[Path, ...]:
    """Files of this package that a module's numbers may depend on: its own and all that it imports.

    Imports are read from the source text, at any depth of a file and through any number of files; a
    package stands for its `__init__.py`, which is run on the way to each of its modules.

    Args:
        module: Dotted name, such as `assay.worlds.grammar`.

    Returns:
        Paths in sorted order.
    """
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        parts = waiting.pop().split(".")
        for depth in range(1, len(parts) + 1):
            place = PACKAGE.parent.joinpath(*parts[:depth])
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            if not file.is_file():
                break  # the rest is a name in a module
            if file not in found:
                found.add(file)
                waiting += imported(file)
    return tuple(sorted(found))


def imported(file: Path) -> list[str]:
    """Dotted names of this package that a file imports; of `from a import b` both a and a.b, since
    b may be a module.
    """
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] == PACKAGE.name]


def place(name: str, arguments: Mapping[str, Any], module: str) -> Path:
    """Where a world's trained parts are stored: the name holds a digest of all that they depend on.

    Args:
        name: The world's name, for people who look into the folder.
        arguments: What the parts were made with.
        module: The world's module; a change in any of its `sources` gives another place.
    """
    key = hashlib.sha256(
        json.dumps([__version__, torch.__version__, dict(arguments)], sort_keys=True).encode()
    )
    for file in sources(module):
        key.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes() + b"\0")
    return folder() / f"{name}-{key.hexdigest()[:24]}.safetensors"


def kept(
    path: Path, build: Callable[[], Any], decode: Callable[[list[int]], str] | None = None
) -> Any:
    """What `build` returns: nested tensors and plain values, read from `path` where they are there.

    A damaged file is named in the log and built again; a folder that cannot be written costs the
    next run its start. Every process takes the same branch, or their collective calls would not
    meet.
    """
    state = None
    if path.exists():
        try:
            state = checkpoint.load(path, decode)
        except InputError:
            log.warning("%s is damaged: it is built again", path)
    found = parallel.same_everywhere(torch.tensor(float(state is not None)))
    if state is not None and bool(found):
        return state
    state = build()
    if parallel.rank() == 0:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(path, state)
        except OSError as why:
            log.warning(
                "%s cannot be written (%s): the next run builds this world again", path, why
            )
    parallel.barrier()
    return state
