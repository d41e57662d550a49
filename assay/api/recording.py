"""The record of an order: what was asked for, with digests of every file that it reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from assay.api import inputs
from assay.api.live import filed, rows_digests
from assay.api.orders import Order
from assay.api.resuming import forget_start, was_killed
from assay.api.weights import live_sources, live_weights
from assay.core import Loop, World
from assay.engine import parallel
from assay.engine.atomic import make_folder
from assay.engine.folder_lock import TRACES, only_writer
from assay.engine.os_errors import writing_to
from assay.engine.owner import held_by
from assay.errors import InputError
from assay.evaluation.config import MeasureConfig
from assay.evaluation.reading import described
from assay.records import own_code
from assay.records.lines import plain
from assay.records.memory import MemoryRun
from assay.records.own_inputs import INPUTS
from assay.records.runs import Run, RunRecord, digest
from assay.registry import catalogue
from assay.watch.config import WatchConfig


def begin_record(
    asked: Order,
    world: World,
    loop: Loop,
    config: MeasureConfig,
    folder: Path | None,
    resume: bool,
) -> Run | MemoryRun:
    """The run's record: its folder is made by the first process and opened by the others."""
    if folder is None:
        named = filed(asked.world_arguments, None)
        about = _about(asked, world, loop, config, named, rows_digests(asked.world_arguments))
        return MemoryRun(about)
    if parallel.rank() == 0 and not (resume and (folder / "run.json").exists()):
        with _begun(folder):
            named = filed(asked.world_arguments, folder)
            about = _about(asked, world, loop, config, named, inputs.own(named, folder))
            Run.begin(folder, about)
        own_code.remember(own_code.named(about.plain(), folder))
    elif parallel.rank() == 0:
        _note_changes(folder)
    parallel.barrier()
    return Run.open(folder)


@contextmanager
def _begun(folder: Path) -> Iterator[None]:
    """Hold a folder while its first record is made. The record is written last and whole, so a
    folder without one is free, also after a kill.
    """
    killed = was_killed(folder)  # no owner is there but a dead one: seen before this one is
    new = not folder.exists()
    try:
        with writing_to(folder):
            make_folder(folder)
    except BaseException:
        if new:
            with suppress(OSError, ValueError):  # another process has it, or it is no name
                folder.rmdir()
        raise
    with only_writer(folder) as mine:
        if not mine:
            raise InputError(
                f"{held_by(folder)} begins a run in {folder}: give another folder, or go on with "
                "that run by --resume when it has ended"
            )
        if killed:
            forget_start(folder)
        Run.must_be_free(folder)
        try:
            yield
        except BaseException:  # what there is of inputs helps nobody
            _withdraw(folder)
            raise


def _note_changes(folder: Path) -> None:
    """Note in a run's record with which other inputs it goes on: they were accepted."""
    with only_writer(folder) as mine:  # where another process writes, the run is refused later
        run = Run.open(folder)
        if mine and (changed := inputs.accepted(run.about, str(folder))):
            run.note(changed)


def _about(
    asked: Order,
    world: World,
    loop: Loop,
    config: MeasureConfig,
    named: dict[str, Any],
    own: dict[str, str],
) -> RunRecord:
    """What a record says of an order, with the world's arguments as it names them, and digests of
    what came from Python.
    """
    mine = (
        {}
        if asked.entry.path.parent == catalogue.HOME / "recipes"
        else {str(asked.entry.path): digest(asked.entry.path)}
        if asked.entry.path.is_file()
        else {}
    )
    files = inputs.held({"world": asked.world, "fit": asked.fit, **named})
    return RunRecord(
        recipe=asked.entry.name,
        verb=asked.entry.verb,
        title=asked.entry.title,
        paper=asked.entry.paper,
        path=str(asked.entry.path) if mine else None,
        arguments=plain(asked.arguments),  # a tuple becomes a list
        loop=asdict(loop),
        seed=loop.seed,
        world={"name": asked.world, **_settled(named, world)},
        fit=plain({"name": asked.fit, **asked.fit_arguments}) if asked.fit else None,
        run={
            **asked.settings,
            **asdict(config),
            "threads": torch.get_num_threads(),
            "processes": parallel.world_size(),
        },
        watch=None if asked.watch is None else asdict(asked.watch),
        inputs={
            **mine,
            **files,
            **own,
            **watch_files(asked.watch),
            **live_weights(asked, world),
            **live_sources(asked),
        },
        world_digest=world.digest or None,
        **described(world),
    )


def _settled(named: dict[str, Any], world: World) -> dict[str, Any]:
    """A world's arguments, with what it chose where 0 left it open."""
    return {k: world.arguments.get(k, v) if v == 0 else v for k, v in named.items()}


def watch_files(watch: WatchConfig | None) -> dict[str, str]:
    """Digests of the files that a watch reads."""
    named = [] if watch is None else [watch.prompts, watch.by.rpartition(":")[0]]
    return {v: digest(v) for v in named if v and Path(v).is_file()}


def withdraw(folder: Path) -> None:
    """Take back the folder of a run that was refused before it read anything, so that the corrected
    command can have it. It stays where another process goes on with the run.
    """
    if not folder.is_dir():
        return
    with only_writer(folder) as mine:
        if mine:
            _withdraw(folder)


def _withdraw(folder: Path) -> None:
    """The same of a folder that is held."""
    if {f.name for f in folder.iterdir()} <= {"run.json", INPUTS, *TRACES}:
        shutil.rmtree(folder / INPUTS, ignore_errors=True)
        for name in ("run.json", *TRACES):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def threads_of(folder: Path | None) -> int | None:
    """The number of threads that a run began with: its sums depend on it in their last bits.

    Args:
        folder: The run's folder; None for a run that begins.
    """
    if folder is None or not (folder / "run.json").exists():
        return None
    threads = Run.open(folder).record.run.get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None
