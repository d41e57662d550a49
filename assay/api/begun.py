"""What lies in the folder of one of a sweep's runs: nothing yet, or that very run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.api import flags, loop_defaults, settings
from assay.api.resuming import FREE, must_be_free
from assay.errors import InputError
from assay.records.identity import FREE_OF_WATCH, difference
from assay.records.lines import plain
from assay.records.runs import Run
from assay.registry import catalogue
from assay.safe_text import json_text

if TYPE_CHECKING:
    from assay.api.execution import Worlds
    from assay.api.orders import Order
    from assay.watch.config import WatchConfig


def state(folder: Path, order: Order) -> str:
    """ "new", "begun" or "done". Raises InputError where a run of other arguments is there: it is
    never taken for this one.
    """
    if not (folder / "run.json").exists():
        must_be_free(folder)
        return "new"
    about = Run.open(folder).about
    loop = {**_of_the_world(order), **order.loop}
    there = {
        "recipe": about["recipe"],
        "arguments": about["arguments"],
        "world": about["world"],
        "fit": about.get("fit"),
        "loop": {k: about["loop"][k] for k in loop},
        "run": {k: v for k, v in about["run"].items() if k in order.settings and k not in FREE},
        "watch": _lasting(about.get("watch")),
    }
    here = {
        "recipe": order.entry.name,
        "arguments": {**order.arguments, **_mean(order, about["arguments"])},
        "world": {"name": order.world, **_settled("world.", order.world_arguments, about["world"])},
        "fit": {"name": order.fit, **order.fit_arguments} if order.fit else None,
        "loop": loop,
        "run": {
            k: v for k, v in _settled("", order.settings, about["run"]).items() if k in there["run"]
        },
        "watch": _lasting(None if order.watch is None else asdict(order.watch)),
    }
    _same(there, json.loads(json_text(here)), folder)
    if about["state"] != "done":
        return "begun"
    from assay.evaluation.tidy import tidied  # here, because help imports this module

    tidied(folder)
    return "done"


def check_left_out(
    order: Order, given: Mapping[str, Any], before: Mapping[str, Any], folder: Path
) -> None:
    """Check that a run has at its default what a sweep leaves out.

    Args:
        order: What the sweep asks for, with every default.
        given: The values by flag name that it names.
        before: The record's values by flag name.
        folder: The run's folder.

    Raises:
        InputError: It has another value.
    """
    world = {f"world.{k}": v for k, v in order.world_arguments.items()}
    fit = {f"fit.{k}": v for k, v in order.fit_arguments.items()} if order.fit else {}
    now = {
        **order.arguments,
        **_mean(order, before),
        **_of_the_world(order),
        **order.loop,
        **order.settings,
        **world,
        **fit,
        "world": order.world,
        "fit": order.fit,
    }
    chosen = {k for k in flags.CHOSEN if not now.get(k)}
    free = {*given, *FREE, *chosen, *(settings.loop().keys() - now.keys())}
    left = [k for k in before if k not in free and k.partition(".")[0] != "watch"]
    _same({k: before[k] for k in left}, {k: now.get(k) for k in left}, folder)


def check_watch(watch: WatchConfig | None, folder: Path) -> None:
    """Raise InputError where a run is watched in another way than a sweep asks for."""
    here = _lasting(None if watch is None else asdict(watch))
    there = _lasting(Run.open(folder).about.get("watch"))
    _same({"watch": there}, {"watch": json.loads(json_text(here))}, folder)


def check_loop(order: Order, folder: Path, worlds: Worlds) -> None:
    """Check the constants of optimisation that an order leaves to a world whose text does not say
    them: it is built for that.

    Args:
        order: The order.
        folder: A run's folder.
        worlds: Where worlds are built.

    Raises:
        InputError: The run has another one.
    """
    if loop_defaults.of_world(catalogue.find_world(order.world)) is not None:
        return
    world = worlds(replace(order, fit="", fit_arguments={}), folder)
    loop = plain(asdict(catalogue.loop_of(order.function, world.loop, order.loop)))
    there = Run.open(folder).about["loop"]
    _same({"loop": {k: there.get(k) for k in loop}}, {"loop": loop}, folder)


def _same(there: Mapping[str, Any], here: Mapping[str, Any], folder: Path) -> None:
    if found := difference(there, here):
        name, then, now = found
        raise InputError(
            f"{folder} holds a run with other arguments ({name} {then!r:.60}, and this asks for "
            f"{now!r:.60}); give another --out"
        )


def _settled(prefix: str, asked: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """Values that are asked for: what was left open is what the run chose, and what may differ when
    a run goes on is what it has.
    """
    return {
        k: there.get(k, v)
        if f"{prefix}{k}" in FREE or (not v and f"{prefix}{k}" in flags.CHOSEN)
        else v
        for k, v in asked.items()
    }


def _mean(order: Order, there: Mapping[str, Any]) -> dict[str, Any]:
    """The aggregate that a run chose, where the order leaves it open (`execution.Drive`)."""
    open_ = order.arguments.get("aggregate") == "" and not {"member", "aggregate"} & order.given
    chose = open_ and order.world == "hub" and there.get("aggregate") == "mean"
    return {"aggregate": "mean"} if chose else {}


def _lasting(watch: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The settings of a watch without those that may differ when a run goes on."""
    return None if watch is None else {k: v for k, v in watch.items() if k not in FREE_OF_WATCH}


def _of_the_world(order: Order) -> dict[str, Any]:
    """The constants of optimisation that an order leaves to its recipe and world, as far as their
    texts say them.
    """
    own = loop_defaults.of_recipe(order.entry)
    world = loop_defaults.of_world(catalogue.find_world(order.world))
    if world is None:
        return own
    return {**{k: f.default for k, f in settings.loop().items()}, **world, **own}
