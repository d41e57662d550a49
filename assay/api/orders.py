"""From values by flag name to what is run (`Order`), and from a record back to values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from assay.api import flags, settings
from assay.api.resuming import TRUST
from assay.errors import InputError
from assay.evaluation.config import MeasureConfig
from assay.records.own_code import only_known_code
from assay.records.own_inputs import expanded
from assay.registry import catalogue
from assay.registry.catalogue import Entry
from assay.registry.live import is_live
from assay.watch.config import WatchConfig
from assay.watch.labelers import choose
from assay.worlds.device import device_named


@dataclass
class Order:
    """A run as it was asked for. Every default is filled in but the Loop's, where the world
    decides.

    Attributes:
        entry: The recipe's file.
        function: Its function.
        arguments: The recipe's constants.
        loop: The Loop's fields that were given.
        world: The world's name or path.
        world_arguments: Its arguments.
        fit: The paper that fits the world's reward models anew; "" for the world's own.
        fit_arguments: Its constants and the fields of its Loop that were given.
        settings: What changes no policy: how often to read and save, the device and so on.
        watch: How the run is watched; None where it is not.
        given: Names of the recipe's constants that were given.
    """

    entry: Entry
    function: Callable[..., Any]
    arguments: dict[str, Any]
    loop: dict[str, Any]
    world: str
    world_arguments: dict[str, Any]
    fit: str
    fit_arguments: dict[str, Any]
    settings: dict[str, Any]
    watch: WatchConfig | None = None
    given: frozenset[str] = frozenset()


def order(entry: Entry, values: Mapping[str, Any]) -> Order:
    """An Order from values by flag name, defaults filled in.

    Args:
        entry: The recipe, fit or study.
        values: Values by flag name, e.g. `{"lam": 0.5, "world.noise": 0.1}`.

    Raises:
        InputError: A name is unknown, a required argument is missing, or a value is impossible.
    """
    world, fit = values.get("world") or catalogue.own_world(entry), values.get("fit", "")
    world = world or settings.run()["world"].default
    asked, everywhere, loop = settings.known(entry, world, fit), settings.run(), settings.loop()
    for name in values:
        if name not in asked:
            subject, typed = f"{entry.name} in world {world}", f"--{name.replace('_', '-')}"
            otherwise = f"; assay run {entry.name} --help lists its flags"
            where = settings.elsewhere(name)
            raise InputError(flags.no_such(subject, typed, name, asked, where, otherwise))
    flags.required(asked, values)
    values = {k: v if is_live(v) else flags.fitted(v, asked[k]) for k, v in values.items()}

    def filled(names: Iterable[str], prefix: str = "") -> dict[str, Any]:
        return {name.removeprefix(prefix): values.get(name, asked[name].default) for name in names}

    own = [
        k
        for k in asked
        if k not in everywhere and k not in loop and not k.startswith(("world.", "fit."))
    ]
    its = [k for k in asked if k.startswith("fit.")]
    constants = filled([k for k in its if k.removeprefix("fit.") not in loop], "fit.")
    steps = {
        k.removeprefix("fit."): values[k]
        for k in its
        if k.removeprefix("fit.") in loop and k in values
    }
    running = filled(
        [k for k in everywhere if k not in ("world", "fit") and not k.startswith("watch")]
    )
    running["device"] = _device(running["device"], world)
    MeasureConfig(**{k: v for k, v in running.items() if k != "device"})  # refuses what cannot be
    return Order(
        entry=entry,
        function=settings.function_of(entry),
        arguments=filled(own),
        loop={k: values[k] for k in loop if k in values},
        world=world,
        world_arguments=filled([k for k in asked if k.startswith("world.")], "world."),
        fit=fit,
        fit_arguments={**constants, **steps},
        settings=running,
        watch=watching(values),
        given=frozenset(k for k in own if k in values),
    )


def has_device(world: Callable[..., Any]) -> bool:
    """Whether a world can be told where to compute."""
    return "device" in inspect.signature(world).parameters


def _device(name: str, world: str) -> str:
    """The device that was asked for, by its own name. Raises InputError where it is not there or
    not for this world.
    """
    if has_device(catalogue.load_world(world)):
        return str(device_named(name))
    if name not in ("auto", "cpu"):
        raise InputError(
            f"--device is '{name}', and world {world} computes on the cpu; world hub can be "
            "elsewhere"
        )
    return "cpu"


def watching(values: Mapping[str, Any]) -> WatchConfig | None:
    """How the run is watched, None where it is not."""
    given = {k.removeprefix("watch."): v for k, v in values.items() if k.startswith("watch.")}
    if not values.get("watch"):
        if given:
            raise InputError(
                f"--watch.{next(iter(given))} says how to watch, and nothing is watched: add "
                "--watch with who "
                f"labels, {choose.KINDS}"
            )
        return None
    asked = WatchConfig(by=values["watch"], **given)
    choose.check_labeler(asked)
    return asked


def values_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """A record's resolved arguments as values by flag name."""
    world = dict(about["world"])
    name = world.pop("name", None)
    if name is None:
        raise InputError(
            "the record names no world, so nothing can go on from it: restore its run.json"
        )
    run = {k: v for k, v in about["run"].items() if k in settings.run()}
    fit = dict(about.get("fit") or {"name": ""})
    if "name" not in fit:
        raise InputError("the record names no fit beside its arguments: restore its run.json")
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
    """`values_of`, with each value of the type its flag has, and every name known.

    JSON has no tuples, so a record alone does not have them.

    Args:
        about: The run's record.
        entry: The recipe, fit or study that it ran.
        where: The run, for messages.

    Returns:
        Values by flag name.

    Raises:
        InputError: The recipe no longer has a constant that the record names.
    """
    values = expanded(values_of(about), where)
    only_known_code(about, where)
    asked = settings.known(entry, values["world"], values.get("fit", ""))
    values.pop(TRUST, None)  # said anew each time: a record may come from a stranger
    for name, v in values.items():
        if name not in asked:
            raise InputError(
                f"{where} was run with {name}={v!r}, and {entry.name} has no such constant any more"
            )
        values[name] = flags.fitted(v, asked[name], f"{name} of {where}")
    return values


def of_record(about: Mapping[str, Any], where: str, *, trust: bool = False) -> Order:
    """The Order that a recorded run was.

    Args:
        about: The run's record.
        where: Its folder, for messages.
        trust: Whether code that comes with the run's models may run.
    """
    entry = catalogue.find(about.get("path") or about["recipe"] or "")
    values = recorded(about, entry, where)
    return order(entry, {**values, **({TRUST: True} if trust else {})})


def of_policy(about: Mapping[str, Any], where: str, *, trust: bool = False) -> Order:
    """The Order of a recorded run with what its policies need alone.

    Whoever loads a policy trains and scores nothing: the recipe, rewards, gold, the watch and the
    sampler may be functions that only the program of the run had, or servers that are gone.

    Args:
        about: The run's record.
        where: Its folder, for messages.
        trust: Whether code that comes with the run's model may run.
    """
    world = dict(about["world"])
    if world.get("name") == "hub":
        world = {k: v for k, v in world.items() if not k.startswith("sampler")}
        world |= {"rewards": [], "gold": ""}
    nothing: dict[str, Any] = {"arguments": {}, "loop": {}, "fit": None, "watch": None}
    any_recipe = catalogue.find("leave_one_out")
    values = recorded({**about, **nothing, "world": world}, any_recipe, where)
    return order(any_recipe, {**values, **({TRUST: True} if trust else {})})
