"""Builds the world of an order and drives its recipe into a folder, for run, sweep and demo."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from assay.cli import inputs, progress
from assay.cli.orders import Order, has_device
from assay.core import Loop, World
from assay.engine import parallel
from assay.engine.atomic import only_writer
from assay.errors import InputError, Waiting
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.evaluation.reading import described
from assay.records.runs import Run, RunRecord, digest
from assay.records.tracking import Tracked
from assay.registry import catalogue
from assay.watch.config import WatchConfig
from assay.watch.setup import prospects
from assay.worlds.refit import refitted
from assay.worlds.trial import try_judges

TRIED = ("rewards", "gold", "prompts", "pairs", "demos", "columns", "split")


class Worlds:
    """Worlds already built, by name and arguments: runs of one command share them."""

    def __init__(self) -> None:
        self._built: dict[str, World] = {}
        self._tried: set[str] = set()

    def __call__(self, asked: Order) -> World:
        """The world of an order, its reward models fitted anew where the order says so."""
        make = catalogue.load_world(asked.world)
        self.tried(asked)
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

    def tried(self, asked: Order) -> None:
        """Call once each function and server that judges, before anything is built; the same ones
        are not called again.

        Raises:
            InputError: One of them fails.
        """
        if asked.world != "hub":
            return
        judges = {k: asked.world_arguments.get(k) for k in TRIED}
        by = None if asked.watch is None else asked.watch.by
        key = json.dumps([judges, by], sort_keys=True, default=str)
        if key not in self._tried:
            with progress.working("trying the judges"):
                try_judges(asked.world_arguments, asked.watch)
            self._tried.add(key)

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
    if asked.watch is not None:
        looks = -(-loop.max_steps // asked.settings["eval_steps"])
        for sentence in prospects(
            asked.watch,
            world.task,
            population=world.population,
            held_out=world.held_out,
            looks=looks,
        ).sentences:
            say(sentence)
    run = _record(asked, world, loop, folder, resume)
    with ExitStack() as held:
        if parallel.rank() == 0 and not held.enter_context(only_writer(folder)):
            raise InputError(
                f"another process is writing to {folder}: wait until it has ended, or run into "
                "another folder"
            )
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
