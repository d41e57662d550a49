"""Builds the world of an order and drives its recipe into a folder, for run, sweep and demo."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from assay.cli import flags, inputs, progress, screen
from assay.cli.orders import Order, has_device
from assay.core import Loop, World
from assay.engine import parallel
from assay.engine.atomic import only_writer
from assay.engine.progress import stage
from assay.errors import InputError, Waiting
from assay.evaluation.chosen import chosen
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.evaluation.reading import described
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
            with stage(said):
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
    before = Run.open(folder).about["run"] if resume and (folder / "run.json").exists() else {}
    running = {
        k: before.get(k, v) if not v and k in flags.CHOSEN else v
        for k, v in asked.settings.items()
        if k != "device"
    }
    config = chosen(MeasureConfig(**running), world, loop)
    run = _record(asked, world, loop, config, folder, resume)
    with ExitStack() as held:
        if parallel.rank() == 0 and not held.enter_context(only_writer(folder)):
            raise InputError(
                f"another process is writing to {folder}: wait until it has ended, or run into "
                "another folder"
            )
        readings = measure(
            asked.function,
            world,
            loop=loop,
            arguments=asked.arguments,
            run=run,
            resume=resume,
            watch=asked.watch,
            config=config,
            name=asked.entry.name,
            tell=screen.note,
        )
        if parallel.rank() == 0 and run.about["state"] in ("failed", "waiting"):
            run.note({"state": "running", "error": None})
        tracked = track(run) if parallel.rank() == 0 else None
        try:
            for reading in readings:
                say(progress.line(reading))
                if tracked is not None:
                    tracked(reading)
        except KeyboardInterrupt as why:
            raise KeyboardInterrupt(f"go on with: assay run --resume --out {folder}") from why
        except Waiting:
            if parallel.rank() == 0:
                run.note({"state": "waiting"})
            raise
        except Exception as why:
            if parallel.rank() == 0:
                run.note({"state": "failed", "error": f"{type(why).__name__}: {why}"})
                if isinstance(why, InputError) and not resume:
                    withdraw(folder)
            raise
        finally:
            if tracked is not None:
                tracked.close()
    return run


def withdraw(folder: Path) -> None:
    """Take back the folder of a run that was refused before it read anything, so that the corrected
    command can have it.
    """
    if [f.name for f in folder.iterdir()] == ["run.json"]:
        (folder / "run.json").unlink()
        folder.rmdir()


def _record(
    asked: Order, world: World, loop: Loop, config: MeasureConfig, folder: Path, resume: bool
) -> Run:
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
                world={"name": asked.world, **_settled(asked.world_arguments, world)},
                fit={"name": asked.fit, **asked.fit_arguments} if asked.fit else None,
                run={
                    **asked.settings,
                    **asdict(config),
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


def _settled(asked: dict[str, Any], world: World) -> dict[str, Any]:
    """A world's arguments, with what it chose where 0 left it open."""
    return {k: world.arguments.get(k, v) if v == 0 else v for k, v in asked.items()}


def watch_files(watch: WatchConfig | None) -> dict[str, str]:
    """Digests of the files that a watch reads."""
    named = [] if watch is None else [watch.prompts, watch.by.rpartition(":")[0]]
    return {v: digest(v) for v in named if v and Path(v).is_file()}


def summary(run: Run) -> dict[str, Any]:
    """What a program wants to know of a finished run."""
    readings = run.readings()
    best = [r for r in readings if r["tag"] == "best"]
    curve = [r for r in readings if r["tag"] != "best"]
    return {
        "run": str(run.folder),
        "recipe": run.about["recipe"],
        "state": run.about["state"],
        "readings": len(readings),
        "best": best[-1] if best else None,
        "last": curve[-1] if curve else None,
        "watch": next((r["watch"] for r in reversed(curve) if r["watch"]), None),
        "result": run.about.get("result"),
    }
