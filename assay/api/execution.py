"""Builds the world of an order and drives its recipe: the middle of `train`, of sweeps and of the
command line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from assay.api import flags
from assay.api.orders import Order, has_device
from assay.api.recording import begin_record, threads_of, withdraw
from assay.api.weights import check_weights, check_world, say_sources
from assay.core import Loop, World
from assay.engine import parallel
from assay.engine.nonfinite import nonfinite
from assay.engine.progress import stage
from assay.engine.signals import sigterm_interrupts
from assay.engine.threads import as_many
from assay.errors import InputError, NotWritten
from assay.evaluation.chosen import chosen
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import Measurement
from assay.evaluation.reading import described
from assay.records import best
from assay.records.identity import difference
from assay.records.run_warnings import collapsed
from assay.records.runs import Run, plain
from assay.records.schema import Reading
from assay.records.tracking import Tracked
from assay.records.verify import may_go_on
from assay.registry import catalogue
from assay.registry.live import identity
from assay.watch.setup import prospects
from assay.worlds.refit import refitted
from assay.worlds.trial import try_judges

TRIED = ("rewards", "gold", "prompts", "pairs", "demos", "columns", "label_map", "split")


@contextmanager
def _trials(asked: Order) -> Iterator[None]:
    """While a world is built, read rewards that are not finite as the run will: as None, where
    --nonfinite-rewards is skip.
    """
    if asked.settings.get("nonfinite_rewards") != "skip":
        yield
        return
    with nonfinite.into([], leave_out=True), nonfinite.passing():
        yield


class Worlds:
    """Worlds already built, by name and arguments: runs of one command share them."""

    def __init__(self) -> None:
        self._built: dict[str, World] = {}
        self._tried: set[str] = set()
        self._asked: list[Order] = []  # keeps open objects, so that their ids stay theirs

    def __call__(self, asked: Order, goes_on: Path | None = None) -> World:
        """The world of an order, its reward models fitted anew where the order says so.

        Args:
            asked: The order.
            goes_on: The folder of a run that goes on in it: it is built with that run's number of
                threads.
        """
        with as_many(threads_of(goes_on)), _trials(asked):
            return self._of(asked)

    def _of(self, asked: Order) -> World:
        """See `__call__`."""
        make = catalogue.load_world(asked.world)
        self._asked.append(asked)
        self.tried(asked)
        where = {"device": asked.settings["device"]} if has_device(make) else {}
        there = {**where, "threads": torch.get_num_threads()}
        world = self._made(
            [asked.world, asked.world_arguments, there],
            f"building world {asked.world}",
            lambda: make(**asked.world_arguments, **where),
        )
        if not asked.fit:
            return world
        return self._made(
            [asked.world, asked.world_arguments, there, asked.fit, asked.fit_arguments],
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
        key = json.dumps(identity([judges, by]), sort_keys=True, default=str)
        if key not in self._tried:
            with stage("trying the judges"):
                try_judges(asked.world_arguments, asked.watch)
            self._tried.add(key)

    def _made(self, what: list[Any], said: str, make: Callable[[], World]) -> World:
        key = json.dumps(identity(what), sort_keys=True)
        if key not in self._built:
            with stage(said):
                self._built[key] = make()
        return self._built[key]


class Drive:
    """One order under way, or at its end.

    Args:
        asked: The order: a recipe with every value of it.
        world: The world that it is measured in.
        folder: The run's folder; None keeps the record in memory.
        resume: Go on from the folder's last checkpoint.

    Attributes:
        loop: The constants of optimisation, resolved.
        run: The record.
        measurement: What drives the recipe; None before the first reading.
    """

    def __init__(
        self,
        asked: Order,
        world: World,
        folder: Path | None,
        *,
        resume: bool = False,
    ):
        self.loop: Loop = catalogue.loop_of(asked.function, world.loop, asked.loop)
        self.order, self.world, self.folder, self.resume = asked, world, folder, resume
        if len(world.held_out) == 0:
            raise InputError(
                "--held-out leaves no prompt to measure the policy on; give at least 1, or 0 to "
                "let assay choose"
            )
        self.notes = [said] if (said := _mean_of_several(asked, world)) and not resume else []
        if resume and folder is not None and (folder / "run.json").exists():
            may_go_on(folder)
            _same_loop(self.loop, folder)
        self.config = chosen(MeasureConfig(**_running(asked, folder, resume)), world, self.loop)
        self.run = begin_record(asked, world, self.loop, self.config, folder, resume)
        if resume:
            check_weights(self.run.about, world, str(folder))
            check_world(self.run.record, world, str(folder))
            say_sources(self.run.about, asked, str(folder))
        self.measurement: Measurement | None = None

    def _prospects(self) -> tuple[str, ...]:
        """What the labels of a watch can and cannot find."""
        if self.order.watch is None:
            return ()
        world = self.world
        return tuple(
            prospects(
                self.order.watch,
                world.task,
                population=world.population,
                held_out=world.held_out,
                looks=-(-self.loop.max_steps // self.config.eval_steps),
            ).sentences
        )

    def readings(
        self,
        *,
        tell: Callable[[str], None] = lambda sentence: None,
        track: Callable[[Run], Tracked] = lambda run: Tracked(run, ()),
    ) -> Iterator[Reading]:
        """Drive the recipe, and yield each reading after it is in the record.

        What goes wrong on the way is in the record before it is raised.

        Args:
            tell: Is given sentences: what readings cost, and what a watch can find.
            track: Where readings go as well, by the first process; nowhere by default.

        Raises:
            InputError: Another process is writing to the folder.
        """
        with ExitStack() as held:
            first = parallel.rank() == 0
            held.enter_context(sigterm_interrupts())  # in every process: each says how it ended
            held.enter_context(as_many(threads_of(self.folder if self.resume else None)))
            for sentence in (*self.notes, *self._prospects()):
                tell(sentence)
            self.measurement = Measurement(
                self.order.function,
                self.world,
                self.loop,
                self.order.arguments,
                self.config,
                self.order.watch,
                run=self.run,
                resume=self.resume,
                name=self.order.entry.name,
                tell=tell,
            )
            readings = self.measurement.readings()
            held.enter_context(closing(readings))
            tracked = track(self.run) if first and isinstance(self.run, Run) else None
            if tracked is not None:
                held.callback(tracked.close)
            try:
                for reading in readings:
                    if tracked is not None:
                        tracked(reading)
                    yield reading  # type: ignore[misc]
            except NotWritten:
                raise  # the folder stays: the run goes on from it when there is room
            except InputError:
                if first and not self.resume and self.folder is not None:
                    withdraw(self.folder)
                raise


def _same_loop(loop: Loop, folder: Path) -> None:
    """Check that a run goes on with the constants of its record: one that is left out is the
    world's, and the run may have begun with another.

    Raises:
        InputError: One differs.
    """
    if found := difference(Run.open(folder).record.loop, plain(asdict(loop))):
        name, then, now = found
        typed = f"--{name.replace('_', '-')}"
        raise InputError(
            f"{folder} was begun with {typed} {then!r}, and this asks for {now!r}: give {typed} "
            f"{then!r} to go on, or start another run with --from {folder}"
        )


def _mean_of_several(asked: Order, world: World) -> str:
    """With several rewards of a user's own and no word on which is the proxy, make it their mean.

    Returns:
        A sentence that says so; "" where nothing was left open.
    """
    open_ = asked.arguments.get("aggregate") == "" and not {"member", "aggregate"} & asked.given
    names = described(world)["rewards"]
    if asked.world != "hub" or not open_ or len(names) < 2:
        return ""
    asked.arguments["aggregate"] = "mean"
    return (
        f"the proxy is the mean of {len(names)} rewards ({', '.join(names)}); --aggregate worst "
        "takes the lowest, --member 0 one of them"
    )


def _running(asked: Order, folder: Path | None, resume: bool) -> dict[str, Any]:
    """The settings of a run; one that goes on keeps what it had chosen."""
    there = resume and folder is not None and (folder / "run.json").exists()
    before = Run.open(folder).about["run"] if there and folder is not None else {}
    return {
        k: before.get(k, v) if not v and k in flags.CHOSEN else v
        for k, v in asked.settings.items()
        if k != "device"
    }


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
        "died": [w["kind"] for w in collapsed(run.about)],
    }
