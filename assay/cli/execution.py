"""Builds the world of an order and drives its recipe into a folder, for run, sweep and demo."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from assay.cli import inputs, progress
from assay.cli.orders import Order, has_device
from assay.core import Loop, World
from assay.engine import parallel
from assay.engine.signals import sigterm_interrupts
from assay.errors import InputError
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.evaluation.reading import described
from assay.records import best
from assay.records.runs import Run, RunRecord, digest
from assay.records.tracking import Tracked
from assay.registry import catalogue
from assay.watch.config import WatchConfig
from assay.worlds.refit import refitted


class Worlds:
    """Worlds already built, by name and arguments: runs of one command share them."""

    def __init__(self) -> None:
        self._built: dict[str, World] = {}

    def __call__(self, asked: Order) -> World:
        """The world of an order, its reward models fitted anew where the order says so."""
        make = catalogue.load_world(asked.world)
        where = {"device": asked.settings["device"]} if has_device(make) else {}
        world = self._made(
            [asked.world, asked.world_arguments, where],
            f"building world {asked.world}",
            lambda: make(**asked.world_arguments, **where),
        )
        if not asked.fit:
            return world
        return self._made(
            [asked.world, asked.world_arguments, where, asked.fit, asked.fit_arguments],
            f"fitting reward models by {asked.fit}",
            lambda: refitted(world, asked.fit, asked.fit_arguments),
        )

    def _made(self, what: list[Any], said: str, make: Callable[[], World]) -> World:
        key = json.dumps(what, sort_keys=True)
        if key not in self._built:
            with progress.working(said):
                self._built[key] = make()
        return self._built[key]


def drive(
    asked: Order,
    world: World,
    folder: Path,
    *,
    resume: bool,
    say: Callable[[str], None],
    track: Callable[[Run], Tracked] = lambda run: Tracked(run, ()),
) -> Run:
    """Run an order into a folder, one line a reading.

    What goes wrong on the way is in the record before it is raised.

    Args:
        asked: The order: a recipe with every value of it.
        world: The world that it is measured in.
        folder: The run's folder.
        resume: Go on from the folder's last checkpoint.
        say: Is given one line of text a reading.
        track: Where readings go as well, by the first process; nowhere by default.

    Returns:
        The run.

    Raises:
        InputError: Another process is writing to the folder.
    """
    loop = catalogue.loop_of(asked.function, world.loop, asked.loop)
    run = _record(asked, world, loop, folder, resume)
    with ExitStack() as held:
        if parallel.rank() == 0:
            held.enter_context(sigterm_interrupts())
        shown = held.enter_context(progress.Bar(asked.entry.name, loop.max_steps))
        running = {k: v for k, v in asked.settings.items() if k != "device"}
        readings = measure(
            progress.watched(asked.function, shown),
            world,
            loop=loop,
            arguments=asked.arguments,
            run=run,
            resume=resume,
            watch=asked.watch,
            config=MeasureConfig(**running),
        )
        held.enter_context(closing(readings))
        tracked = track(run) if parallel.rank() == 0 else None
        if tracked is not None:
            held.callback(tracked.close)
        try:
            for reading in readings:
                say(progress.line(reading))
                if tracked is not None:
                    tracked(reading)
        except KeyboardInterrupt as why:
            raise type(why)(f"go on with: {best.again(run)}") from why
        except InputError:
            if parallel.rank() == 0 and not resume:
                withdraw(folder)
            raise
    return run


def withdraw(folder: Path) -> None:
    """Take back the folder of a run that was refused before it read anything, so that the corrected
    command can have it.
    """
    if [f.name for f in folder.iterdir()] == ["run.json"]:
        (folder / "run.json").unlink()
        folder.rmdir()


def _record(asked: Order, world: World, loop: Loop, folder: Path, resume: bool) -> Run:
    """The run's folder: made by the first process, opened by the others."""
    if parallel.rank() == 0 and not (resume and (folder / "run.json").exists()):
        mine = (
            {}
            if asked.entry.path.parent == catalogue.HOME / "recipes"
            else {str(asked.entry.path): digest(asked.entry.path)}
        )
        files = inputs.held({"world": asked.world, "fit": asked.fit, **asked.world_arguments})
        Run.create(
            folder,
            RunRecord(
                recipe=asked.entry.name,
                verb=asked.entry.verb,
                title=asked.entry.title,
                paper=asked.entry.paper,
                path=str(asked.entry.path) if mine else None,
                arguments=asked.arguments,
                loop=asdict(loop),
                seed=loop.seed,
                world={"name": asked.world, **asked.world_arguments},
                fit={"name": asked.fit, **asked.fit_arguments} if asked.fit else None,
                run={
                    **asked.settings,
                    "threads": torch.get_num_threads(),
                    "processes": parallel.world_size(),
                },
                watch=None if asked.watch is None else asdict(asked.watch),
                inputs={**mine, **files, **watch_files(asked.watch)},
                **described(world),
            ),
        )
    parallel.barrier()
    return Run.open(folder)


def watch_files(watch: WatchConfig | None) -> dict[str, str]:
    """Digests of the files that a watch reads."""
    named = [] if watch is None else [watch.prompts, watch.by.rpartition(":")[0]]
    return {v: digest(v) for v in named if v and Path(v).is_file()}


def summary(run: Run) -> dict[str, Any]:
    """What a program wants to know of a run: `result` says which policy it comes to."""
    readings = run.readings()
    again = [r for r in readings if r["tag"] == "best"]
    curve = [r for r in readings if r["tag"] != "best"]
    return {
        "run": str(run.folder),
        "recipe": run.about["recipe"],
        "state": best.state_of(run),
        "readings": len(readings),
        "best": again[-1] if again else None,
        "last": curve[-1] if curve else None,
        "watch": next((r["watch"] for r in reversed(curve) if r["watch"]), None),
        "result": run.about.get("result"),
    }
