"""The files, folders and functions that a world's arguments name, by what they hold: a run goes on
with what it began with.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.records.own_inputs import OWN, expanded
from assay.records.runs import digest

log = logging.getLogger("assay")
_PLACES, _BYTES = (
    64,
    1 << 14,
)  # what is read of each file of a folder: weights may be larger than is worth reading whole


def held(world: Mapping[str, Any]) -> dict[str, str]:
    """Digests by path, as they were given: whole ones of files (of `FILE.py:name` that file),
    `sketch` of folders.
    """
    paths = dict.fromkeys(
        v.rpartition(":")[0] if ".py:" in v else v for v in _texts(world.values()) if v
    )
    return {
        p: digest(p) if Path(p).is_file() else sketch(Path(p)) for p in paths if Path(p).exists()
    }


def sketch(folder: Path) -> str:
    """SHA-256 of a folder's file names, sizes and evenly spaced parts: other weights of the same
    shape have another.
    """
    said = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        size = path.stat().st_size
        said.update(f"{path.name}\0{size}\n".encode("utf-8", "surrogateescape"))
        with open(path, "rb") as f:
            for at in sorted({max(0, size - _BYTES) * k // (_PLACES - 1) for k in range(_PLACES)}):
                f.seek(at)
                said.update(f.read(_BYTES))
    return said.hexdigest()


def own(named: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Digests of the files that a run keeps of what came from Python, by their names in the record.

    Args:
        named: The world's arguments as the record has them.
        folder: The run's folder.
    """
    names = [v for v in _texts(named.values()) if v.startswith(OWN)]
    found = held({v: expanded(v, folder) for v in names})
    return {v: found[expanded(v, folder)] for v in names}


def unchanged(about: Mapping[str, Any], where: str) -> None:
    """Before a recorded run goes on or is exported. Raises InputError where its policy's folder has
    changed, whose weights are half of what the record holds, or its adapter configuration, by which
    the other half computes; any other change, which may be a repair, is a warning.
    """
    before = expanded(about.get("inputs") or {}, where)
    world = expanded(about.get("world") or {}, where)
    now = held(world)
    for path in sorted(p for p in before.keys() & now.keys() if before[p] != now[p]):
        kind = {world.get("policy"): "model", world.get("peft"): "adapter configuration"}.get(path)
        if kind:
            raise InputError(
                f"{path} is not the {kind} that {where} began with: its files have changed; put "
                f"them back, or start another run with --from {where}"
            )
        log.warning(
            "%s has changed since %s began: what follows is made with what it holds now",
            path,
            where,
        )


def _texts(values: Any) -> Iterator[str]:
    """The texts among some arguments, and in the lists among them."""
    for v in values:
        if isinstance(v, str):
            yield v
        elif isinstance(v, (list, tuple)):
            yield from _texts(v)
