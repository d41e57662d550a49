"""Trained parts of worlds on disk, so that a second run with the same arguments starts at once.

A file is named by all that its numbers depend on: the arguments, the sources, the libraries that
these import, and the number of threads and processes, which decide the order of sums.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from assay import __version__
from assay.data.cache import folder
from assay.engine import checkpoint, parallel
from assay.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
log = logging.getLogger("assay")


@functools.cache
def sources(module: str) -> tuple[Path, ...]:
    """Files of this package that a module's numbers may depend on: its own and all its imports.

    Imports are read from the source text, at any depth of a file and through any number of files.
    A package counts as its `__init__.py`, which runs before each of its modules.

    Args:
        module: Dotted name, such as `assay.worlds.grammar`.

    Returns:
        Paths in sorted order.
    """
    found: set[Path] = set()
    queue = [module]
    while queue:
        parts = queue.pop().split(".")
        for depth in range(1, len(parts) + 1):
            path = PACKAGE.parent.joinpath(*parts[:depth])
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            if not file.is_file():
                break  # the rest is a name in a module
            if file not in found:
                found.add(file)
                if depth > 1:  # assay's own names are loaded when they are used
                    queue += imported_names(file)
    return tuple(sorted(found))


def imported_names(file: Path) -> list[str]:
    """Dotted names of this package that a file imports.

    Args:
        file: A Python file.

    Returns:
        Names; for `from a import b` both a and a.b, since b may be a module.
    """
    return [name for name in _imports(file) if name.split(".")[0] == PACKAGE.name]


@functools.cache
def _imports(file: Path) -> tuple[str, ...]:
    """Dotted names that a file imports, from anywhere."""
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def libraries(module: str) -> dict[str, str]:
    """Versions of the packages that a module's sources import.

    Args:
        module: Dotted name, such as `assay.worlds.grammar`.

    Returns:
        Versions by distribution, in the order of names.
    """
    used = {name.split(".")[0] for file in sources(module) for name in _imports(file)}
    found = {d for name in used for d in _installed().get(name, ()) if name != PACKAGE.name}
    return {name: metadata.version(name) for name in sorted(found)}


@functools.cache
def _installed() -> Mapping[str, list[str]]:
    """Distributions by the packages that they install; to look takes a third of a second."""
    return metadata.packages_distributions()


def cache_path(name: str, arguments: Mapping[str, Any], module: str) -> Path:
    """The file of a world's trained parts; its name is a digest of all that they depend on.

    Args:
        name: The world's name, for people who look into the folder.
        arguments: What the parts were made with.
        module: The world's module; a change in any of its `sources` gives another path.
    """
    at_work = {"threads": torch.get_num_threads(), "processes": parallel.world_size()}
    made_with = [__version__, torch.__version__, libraries(module), at_work, dict(arguments)]
    key = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode())
    for file in sources(module):
        key.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes() + b"\0")
    return folder() / f"{name}-{key.hexdigest()[:24]}.safetensors"


def cached(
    path: Path, build: Callable[[], Any], decode: Callable[[list[int]], str] | None = None
) -> tuple[Any, str]:
    """What `build` returns, read from the file if it is there, and its digest.

    A damaged file, or one of another world, is logged and built again. A folder that cannot be
    written is logged: the next run builds the world again. Every process takes the same branch, or
    their collective calls would not meet.

    Args:
        path: The file, from `cache_path`.
        build: Makes nested tensors and plain values.
        decode: The decoder of stored prompts.

    Returns:
        (the parts, their SHA-256), the same whether they were read or built.
    """
    state = None
    if path.exists():
        try:
            state = _of_this_name(path, decode)
        except InputError as why:
            log.warning("%s; the world is built again", str(why).partition(";")[0])
    found = parallel.same_everywhere(torch.tensor(float(state is not None)))
    if state is not None and bool(found):
        return state, checkpoint.digest(state)
    state = build()
    if parallel.rank() == 0:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(path, state, {"file": path.stem})
        except OSError as why:
            log.warning(
                "%s cannot be written (%s); the next run builds this world again", path, why
            )
    parallel.barrier()
    return state, checkpoint.digest(state)


def _of_this_name(path: Path, decode: Callable[[list[int]], str] | None) -> Any:
    """The parts in a file that was written under its name, which says all that they depend on.

    Raises:
        InputError: The file is damaged, or was renamed.
    """
    name = checkpoint.about(path).get("file")
    if name != path.stem:
        raise InputError(f"{path} holds the parts of another world ({name}); it was exchanged")
    return checkpoint.load(path, decode)
