"""Where a run goes: into a folder that is free, or on with the run that is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.errors import InputError

# may differ when a run goes on: no reading depends on them
FREE = (
    "micro_batch_size",
    "save_steps",
    "device",
    "policies",
    "watch.rate",
    "watch.timeout",
    "watch.tries",
    "watch.at_once",
)


def unchanged(before: Mapping[str, Any], now: Mapping[str, Any], source: str) -> None:
    """Check that a run goes on as it began.

    Args:
        before: The record's values by flag name.
        now: The values that are asked for.
        source: The run, for the message.

    Raises:
        InputError: An argument differs; the first one is named.
    """
    for name, v in now.items():
        if name not in FREE and before.get(name) != v:
            raise InputError(
                f"{source} was begun with --{name.replace('_', '-')} {before.get(name)!r} and "
                "this asks for "
                f"{v!r}: leave it out to go on, or start another run with --from {source}"
            )


def must_be_free(folder: Path) -> None:
    """Before the world is built, so that a refusal comes at once. Raises InputError where
    something is there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        there = (folder / "run.json").exists()
        raise InputError(
            f"{folder} exists, and a run is never overwritten: give another --out"
            + (", or go on with it by --resume" if there else "")
        )


def free(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3 … that does not exist."""
    names = [folder, *(folder.with_name(f"{folder.name}-{i}") for i in range(2, 10_000))]
    return next(f for f in names if not f.exists())
