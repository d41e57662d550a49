"""From words to a measured run: what was asked for (`Order`), its world, its folder. Shared by run,
sweep, study and demo.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from assay.cli import flags, inputs, progress
from assay.cli.flags import Flag
from assay.core import Loop, Missing, World
from assay.engine import parallel
from assay.errors import InputError, Waiting
from assay.evaluation.measure import measure, possible
from assay.records.runs import Run, digest
from assay.records.tracking import Tracked
from assay.registry import catalogue
from assay.registry.catalogue import Entry
from assay.watch.labelers import choose
from assay.watch.session import Watching
from assay.worlds.device import device_named
from assay.worlds.refit import refitted

LOOP = flags.of(Loop, without=())
WATCH = {
    "watch": Flag("watch", str, "", "who labels what the watch asks"),
    **flags.of(Watching, prefix="watch.", without=("by",)),
}
RUN = {
    **flags.of(measure, without=("loop", "arguments", "run", "resume", "watch")),
    **WATCH,
    "world": Flag("world", str, "grammar", "the world's name"),
    "fit": Flag("fit", str, "", "a paper that fits the world's judges anew"),
    "device": Flag("device", str, "auto", "where tensors live"),
}
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


@dataclass
class Order:
    """A run asked for, with nothing left to default but the Loop, which the world has a say in."""

    entry: Entry
    function: Callable[..., Any]
    arguments: dict[str, Any]
    loop: dict[str, Any]
    world: str
    world_arguments: dict[str, Any]
    fit: str
    fit_arguments: dict[str, Any]
    settings: dict[str, Any]
    watch: Watching | None = None


def known(entry: Entry, world: str, fit: str = "") -> dict[str, Flag]:
    """Every flag of a recipe in a world: its constants, the Loop's fields, the run's own, and with
    their prefixes the world's and those of the paper that fits its judges, whose Loop is the
    world's where nothing is said.
    """
    own = flags.of(function_of(entry))
    taken = sorted(
        own.keys()
        & (LOOP.keys() | RUN.keys() | {"out", "resume", "from", "json", "over", "help", "dtype"})
    )
    if taken:
        raise InputError(
            f"{entry.path} has a constant named {taken[0]}, which is a flag of every run; give it "
            "another name"
        )
    theirs = flags.of(catalogue.load_world(world), prefix="world.", without=("loop", "device"))
    if "world.dtype" in theirs:
        theirs["dtype"] = theirs[
            "world.dtype"
        ]  # one thing, by its short name as well; the record has it among the world's
    if fit:
        theirs |= {
            **flags.of(Loop, prefix="fit.", without=()),
            **flags.of(function_of(catalogue.find(fit)), prefix="fit."),
        }
    return {**RUN, **LOOP, **own, **theirs}


def function_of(entry: Entry) -> Callable[..., Any]:
    """The recipe, fit or study of a file."""
    function: Callable[..., Any] = getattr(catalogue.load(entry), entry.verb)
    return function


def order(entry: Entry, values: Mapping[str, Any]) -> Order:
    """An Order from parsed values by flag name, defaults filled in."""
    world, fit = values.get("world", RUN["world"].default), values.get("fit", "")
    asked = known(entry, world, fit)

    def filled(names: Mapping[str, Flag], prefix: str = "") -> dict[str, Any]:
        out = {}
        for name, flag in names.items():
            if name not in values and flag.default is flags.REQUIRED:
                raise InputError(f"--{name} must be given: {flags.said(flag.type)}")
            out[name.removeprefix(prefix)] = values.get(name, flag.default)
        return out

    own = {
        k: f
        for k, f in asked.items()
        if k == f.name and k not in RUN and k not in LOOP and not k.startswith(("world.", "fit."))
    }
    theirs, its = ({k: f for k, f in asked.items() if k.startswith(p)} for p in ("world.", "fit."))
    constants = filled({k: f for k, f in its.items() if k.removeprefix("fit.") not in LOOP}, "fit.")
    steps = {
        k.removeprefix("fit."): values[k]
        for k in its
        if k.removeprefix("fit.") in LOOP and k in values
    }
    settings = filled(
        {k: f for k, f in RUN.items() if k not in ("world", "fit") and k not in WATCH}
    )
    settings["device"] = _device(settings["device"], world)
    possible(
        **{
            k: settings[k]
            for k in (
                "eval_steps",
                "save_steps",
                "eval_generations",
                "log_completions",
                "micro_batch_size",
            )
        }
    )
    return Order(
        entry,
        function_of(entry),
        filled(own),
        {k: values[k] for k in LOOP if k in values},
        world,
        filled(theirs, "world."),
        fit,
        {**constants, **steps},
        settings,
        watching(values),
    )


def _placed(world: Callable[..., Any]) -> bool:
    """Whether a world can be told where to compute."""
    return "device" in inspect.signature(world).parameters


def _device(name: str, world: str) -> str:
    """The device that was asked for, by its own name. Raises InputError where it is not there or
    not for this world.
    """
    if _placed(catalogue.load_world(world)):
        return str(device_named(name))
    if name not in ("auto", "cpu"):
        raise InputError(
            f"--device is '{name}', and world {world} computes on the cpu; world hub can be "
            "elsewhere"
        )
    return "cpu"


def watching(values: Mapping[str, Any]) -> Watching | None:
    """How the run is watched, None where it is not."""
    given = {k.removeprefix("watch."): v for k, v in values.items() if k.startswith("watch.")}
    if not values.get("watch"):
        if given:
            raise InputError(
                f"--watch.{next(iter(given))} says how to watch, and nothing is watched: add "
                f"--watch with who labels, {choose.KINDS}"
            )
        return None
    asked = Watching(by=values["watch"], **given)
    choose.possible(asked.by, asked.model)
    return asked


def values_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """A record's resolved arguments as values by flag name."""
    world = dict(about["world"])
    name = world.pop("name")
    run = {k: v for k, v in about["run"].items() if k in RUN}
    fit = dict(about.get("fit") or {"name": ""})
    again = {"fit": fit.pop("name"), **{f"fit.{k}": v for k, v in fit.items()}}
    return {
        **about["arguments"],
        **about["loop"],
        **run,
        "world": name,
        **{f"world.{k}": v for k, v in world.items()},
        **(again if again["fit"] else {}),
        **watch_of(about),
    }


def watch_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """The record's watch, by flag name."""
    return {
        "watch" if k == "by" else f"watch.{k}": v for k, v in (about.get("watch") or {}).items()
    }


def recorded(about: Mapping[str, Any], entry: Entry, where: str) -> dict[str, Any]:
    """`values_of` with each value of the type its flag has (JSON has no tuples), and every name
    known.
    """
    values = values_of(about)
    asked = known(entry, values["world"], values.get("fit", ""))
    for name, v in values.items():
        if name not in asked:
            raise InputError(
                f"{where} was run with {name}={v!r}, and {entry.name} has no such constant any more"
            )
        values[name] = (
            v
            if isinstance(v, str)
            else flags.value(json.dumps(v), asked[name].type, f"{name} of {where}")
        )
    return values


class Worlds:
    """Worlds already built, by name and arguments: runs of one command share them."""

    def __init__(self) -> None:
        self._built: dict[str, World] = {}

    def __call__(self, asked: Order) -> World:
        """The world of an order, its judges fitted anew where the order says so."""
        make = catalogue.load_world(asked.world)
        where = {"device": asked.settings["device"]} if _placed(make) else {}
        world = self._made(
            [asked.world, asked.world_arguments, where],
            f"building world {asked.world}",
            lambda: make(**asked.world_arguments, **where),
        )
        if not asked.fit:
            return world
        return self._made(
            [asked.world, asked.world_arguments, where, asked.fit, asked.fit_arguments],
            f"fitting judges by {asked.fit}",
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
    """Run it into a folder, one line a reading. What goes wrong on the way is in the record before
    it is raised. `track`: where readings go as well, by the first process.
    """
    loop = catalogue.loop_of(asked.function, world.loop, asked.loop)
    run = _record(asked, world, loop, folder, resume)
    with progress.bar(asked.entry.name, loop.max_steps) as shown:
        settings = {k: v for k, v in asked.settings.items() if k != "device"}
        readings = measure(
            progress.watched(asked.function, shown),
            world,
            loop=loop,
            arguments=asked.arguments,
            run=run,
            resume=resume,
            watch=asked.watch,
            **settings,
        )
        if parallel.rank() == 0 and run.about["state"] in ("failed", "waiting"):
            run.note({"state": "running", "error": None})
        tracked = track(run) if parallel.rank() == 0 else None
        try:
            for reading in readings:
                with shown.external_write_mode():
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
        try:
            judges = list(world.task.rewards.names)
        except Missing:
            judges = []
        mine = (
            {}
            if asked.entry.path.parent == catalogue.HOME / "recipes"
            else {str(asked.entry.path): digest(asked.entry.path)}
        )
        files = inputs.held({"world": asked.world, "fit": asked.fit, **asked.world_arguments})
        Run.create(
            folder,
            {
                "recipe": asked.entry.name,
                "verb": asked.entry.verb,
                "title": asked.entry.title,
                "paper": asked.entry.paper,
                "path": str(asked.entry.path) if mine else None,
                "arguments": asked.arguments,
                "loop": {f.name: getattr(loop, f.name) for f in fields(loop)},
                "seed": loop.seed,
                "world": {"name": asked.world, **asked.world_arguments},
                "fit": {"name": asked.fit, **asked.fit_arguments} if asked.fit else None,
                "run": {
                    **asked.settings,
                    "threads": torch.get_num_threads(),
                    "processes": parallel.world_size(),
                },
                "watch": None if asked.watch is None else asdict(asked.watch),
                "golds": list(world.golds) if world.gold is not None else [],
                "gold_kind": world.gold_kind,
                "rewards": judges,
                **(
                    {}
                    if getattr(world.task.reference, "replayable", True)
                    else {"replayable": False}
                ),
                "inputs": {**mine, **files, **watch_files(asked.watch)},
            },
        )
    parallel.barrier()
    return Run.open(folder)


def watch_files(watch: Watching | None) -> dict[str, str]:
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
