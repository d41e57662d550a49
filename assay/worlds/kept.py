"""What a world fitted once, on disk: so that a second run with the same arguments starts at once."""
from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from assay import __version__, carry, parallel
from assay.errors import InputError

log = logging.getLogger("assay")


def folder() -> Path:
    """$ASSAY_CACHE, or ~/.cache/assay."""
    return Path(os.environ.get("ASSAY_CACHE") or Path.home() / ".cache" / "assay")


def place(name: str, arguments: Mapping[str, Any], sources: tuple[ModuleType, ...]) -> Path:
    """The file of what these arguments, this version and these source files make."""
    key = hashlib.sha256(json.dumps([__version__, torch.__version__, dict(arguments)], sort_keys=True).encode())
    for module in sources:
        assert module.__file__ is not None
        key.update(Path(module.__file__).read_bytes())
    return folder() / f"{name}-{key.hexdigest()[:24]}.safetensors"


def kept(path: Path, build: Callable[[], Any], decode: Callable[[list[int]], str] | None = None) -> Any:
    """What `build` returns: nested tensors and plain values, read from `path` where they are there.

    A damaged file is named in the log and built again; a folder that cannot be written costs the next run its start.
    Every process takes the same branch, or their collective calls would not meet.
    """
    state = None
    if path.exists():
        try:
            state = carry.load(path, decode)
        except InputError:
            log.warning("%s is damaged: it is built again", path)
    found = parallel.same_everywhere(torch.tensor(float(state is not None)))
    if state is not None and bool(found):
        return state
    state = build()
    if parallel.rank() == 0:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            carry.save(path, state)
        except OSError as why:
            log.warning("%s cannot be written (%s): the next run builds this world again", path, why)
    parallel.barrier()
    return state
