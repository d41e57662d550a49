"""Where a run goes: into a folder that is free, or on with the run that is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.api import settings
from assay.engine.folder_lock import is_fresh, is_held, is_trace
from assay.engine.os_errors import must_be_utf8
from assay.engine.owner import OWNER, held_by
from assay.errors import InputError
from assay.records.own_inputs import INPUTS
from assay.registry.live import PYTHON, is_live, opened

TRUST = "world.trust_remote_code"  # of no record
# may differ when a run goes on: no reading that was made depends on them
FREE = (
    "micro_batch_size",
    "save_steps",
    "device",
    "policies",
    "on_collapse",
    "collapse_steps",
    "nonfinite_rewards",
    "watch.rate",
    "watch.timeout",
    "watch.tries",
    "watch.at_once",
    "world.reward_timeout",
    "world.fsdp",
    "world.fsdp_gather",
    TRUST,
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
    world = (
        settings.bare(settings.world_flags(before["world"]), before) if "world" in before else {}
    )
    for name, v in now.items():
        if name not in FREE and before.get(name) != v:
            typed = world[name].shortest if name in world else f"--{name.replace('_', '-')}"
            raise InputError(
                f"{source} was begun with {typed} {before.get(name)!r} and "
                "this asks for "
                f"{v!r}: leave it out to go on, or start another run with --from {source}"
            )


def must_be_free(folder: Path) -> None:
    """Before the world is built, so that a refusal comes at once. Raises InputError where
    something is there, or the name is not UTF-8.
    """
    must_be_utf8(folder)
    if not folder.exists() or was_killed(folder):
        return
    if not folder.is_dir() or not is_fresh(folder):
        there = (folder / "run.json").exists()
        held = folder.is_dir() and is_held(folder)
        raise InputError(
            f"{folder} exists, and a run is never overwritten"
            + (f"; {held_by(folder)} is writing to it" if held else "")
            + ": give another --out"
            + (", or go on with it by --resume" if there else "")
            + (" when that has ended" if there and held else "")
        )


def was_killed(folder: Path) -> bool:
    """Whether a folder holds what a start left that was killed before its first record."""
    return folder.is_dir() and not is_held(folder) and _started(folder)


def _started(folder: Path) -> bool:
    from assay.engine.leftovers import is_fresh as in_making  # here, because help asks no process

    left = {path.name for path in folder.iterdir()}
    own = {
        name
        for name in left
        # the record in the making; run.json.bak would be a user's
        if name == INPUTS
        or is_trace(name)
        or (name.startswith("run.json.") and in_making(Path(name)))
    }
    return OWNER in left and left == own


def forget_start(folder: Path) -> None:
    """Delete what a start left in a folder that was killed before its first record.

    Args:
        folder: The folder, which this process holds: another one may begin a run there.
    """
    if not _started(folder):
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not is_trace(path.name):
            path.unlink(missing_ok=True)


def free(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3 … that does not exist."""
    names = [folder, *(folder.with_name(f"{folder.name}-{i}") for i in range(2, 10_000))]
    return next(f for f in names if not f.exists())


def gone_on_with(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of a run that goes on, with what may differ and the open objects as they are
    passed again.

    Args:
        before: The record's values by flag name.
        now: The values that are asked for, live names among them.
        where: The run's folder.

    Returns:
        Values by flag name.

    Raises:
        InputError: An argument differs, or an object that only Python has is not passed again.
    """
    unchanged(before, {k: _as_recorded(v, before.get(k), where) for k, v in now.items()}, where)
    again = {k: v for k, v in now.items() if k in FREE or (is_live(v) and not _rows(v))}
    values = {**before, **again}
    for name, value in values.items():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str) and one.startswith(PYTHON) and not is_live(one):
                said, short = one.removeprefix(PYTHON), name.removeprefix("world.")
                raise InputError(
                    f"{where} began with {short}={said}, which only Python has; pass {short} again"
                )
    return values


def _rows(value: Any) -> list[Any] | None:
    found = opened(value)
    return found if isinstance(found, list) else None


def _as_recorded(value: Any, before: Any, where: str) -> Any:
    """A value as the run's record has it: the file that was written of what came from Python.

    Raises:
        InputError: Rows are not those that the run began with.
    """
    if isinstance(value, tuple) and isinstance(before, tuple) and len(value) == len(before):
        return tuple(_as_recorded(v, b, where) for v, b in zip(value, before))
    own = isinstance(before, str) and Path(before).parent == Path(where) / INPUTS
    rows = _rows(value)
    if not own or not is_live(value) or (rows is None and value.found):
        return value
    if rows is not None:
        lines = Path(before).read_text(encoding="utf-8").splitlines()
        if [json.loads(line) for line in lines] != rows:
            raise InputError(
                f"{where} began with other rows ({before}); pass the same, or leave them out to go "
                "on with those"
            )
    return before
