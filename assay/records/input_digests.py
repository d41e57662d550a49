"""SHA-256 of what a run was given: files, model folders, fitted rewards, models in the hub's cache.

Each file of a folder has its own digest, so that a change is told by the file's name. A file is
read whole up to 1 GiB; of a larger one its size, its first 16 MiB (where safetensors keep names and
shapes) and 64 evenly spaced MiB are read. A training step changes every weight, so that it shows.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WHOLE = 1 << 30  # bytes that are read whole
_HEAD, _PLACES, _PART = 16 << 20, 64, 1 << 20
_LOADED = (".json", ".safetensors", ".jinja", ".model", ".txt", ".tiktoken", ".py")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read as this module says.

    Args:
        path: The file.
    """
    stat = path.stat()
    return _digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@functools.lru_cache(maxsize=4096)
def _digest(path: str, size: int, changed: int, inode: int) -> str:
    """The digest of a file as it was at a time: one command asks for it several times."""
    with open(path, "rb") as f:
        if size <= WHOLE:
            return hashlib.file_digest(f, "sha256").hexdigest()
        said = hashlib.sha256(f"{size}\n".encode())
        said.update(f.read(_HEAD))
        for k in range(_PLACES):
            f.seek((size - _PART) * k // (_PLACES - 1))
            said.update(f.read(_PART))
        return said.hexdigest()


def digests(name: str) -> dict[str, str]:
    """Digests of what a name stands for.

    Args:
        name: A file, a folder, or the id of a model in the hub's cache.

    Returns:
        By path: of a file its own; of a folder one of the whole, by the name as it was given, and
        one of each file that is loaded, `NAME/FILE`. {} where nothing is there.

    Example:
        >>> folder = getfixture("tmp_path") / "model"
        >>> folder.mkdir()
        >>> for file in ("config.json", "README.md"):
        ...     _ = (folder / file).write_text("{}")
        >>> [path.replace(str(folder), "model") for path in digests(str(folder))]
        ['model', 'model/config.json']
    """
    path = Path(name)
    if path.is_file():
        return {name: file_digest(path)}
    found = path if path.is_dir() else cached(name)
    if found is None:
        return {}
    files = {f.relative_to(found).as_posix(): file_digest(f) for f in sorted(_loaded(found))}
    listing = "".join(f"{k}\0{v}\n" for k, v in files.items())
    whole = hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    return {name: whole, **{f"{name}/{k}": v for k, v in files.items()}}


def _loaded(folder: Path) -> Iterator[Path]:
    """The files of a folder that are loaded: of a model those beside its configuration."""
    model = any((folder / n).is_file() for n in ("config.json", "adapter_config.json"))
    for path in folder.iterdir() if model else folder.rglob("*"):
        inside = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in inside)
        if path.is_file() and not hidden and (path.suffix in _LOADED or not model):
            yield path


def base_of(name: str) -> str:
    """The base that an adapter's folder or a fitted reward names.

    Args:
        name: A folder, or a file in one.

    Returns:
        A folder or an id; "" where it names none, or the base lies in the folder itself.
    """
    path = Path(name)
    folder = path if path.is_dir() else path.parent
    for file, key in (("adapter_config.json", "base_model_name_or_path"), ("reward.json", "base")):
        if path.is_dir() and (folder / file).is_file():
            try:
                about: Any = json.loads((folder / file).read_text(encoding="utf-8"))
                base = about.get(key)
            except (
                ValueError,
                AttributeError,
                RecursionError,
            ):  # what opens it says what is wrong with it
                continue
            if isinstance(base, str) and not about.get("base_inside"):
                return base
    return ""


def cached(name: str) -> Path | None:
    """The folder of the hub's cache that holds a model of this id; None if it is not there.

    Args:
        name: Any text.
    """
    if not _HUB_ID.fullmatch(name):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None
