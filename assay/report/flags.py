"""A run's settings as flags that can be typed: those that differ from their defaults."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.registry import catalogue
from assay.registry.parameters import Parameter, from_text

_HOME = catalogue.HOME
# chosen by the machine or from the free memory: they change no number
PREFIXED = ("seed", "device")  # of world hub: a flag of every run has the short name
BY_ITSELF = ("threads", "processes", "micro_batch_size", "device")


def world_flags(world: Mapping[str, Any], taken: Collection[str] = ()) -> list[str]:
    """The flags of a world, without its name.

    Args:
        world: A record's `world`: its name and its arguments.
        taken: Names of the recipe's constants, which have the short names.

    Returns:
        One flag with its value each, for the shell.
    """
    name = str(world.get("name") or "")

    def typed(k: str) -> str:
        short = "model" if k == "policy" else k
        return short if name == "hub" and short not in (*PREFIXED, *taken) else f"world.{k}"

    arguments = {typed(k): v for k, v in world.items() if k != "name"}

    def defaults() -> dict[str, Parameter]:
        found = _defaults(catalogue.find_world(name), "world")
        return {typed(k): p for k, p in found.items()}

    return _flags(arguments, "", defaults)


def command(about: Mapping[str, Any]) -> list[str]:
    """The command that starts a run like a recorded one.

    The optimiser's constants are all there, because a world and a recipe choose their own.

    Args:
        about: A record, as a dict.

    Returns:
        The command's words, a flag with its value as one; [] for a record of something that no
        command runs.
    """
    if about.get("verb") not in (None, "recipe") or not about.get("recipe"):
        return []
    recipe = str(about.get("path") or about["recipe"])
    world, fit, watch = (about.get(k) or {} for k in ("world", "fit", "watch"))
    words = [f"assay run {shlex.quote(recipe)}"]
    constants = about.get("arguments") or {}
    if world.get("name"):
        words += [f"--world {shlex.quote(str(world['name']))}", *world_flags(world, constants)]
    words += _flags(constants, "", lambda: _defaults(catalogue.find(recipe).path, "recipe"))
    words += _flags(about.get("loop") or {}, "", dict)
    run = {k: v for k, v in (about.get("run") or {}).items() if k not in BY_ITSELF}
    words += _flags(run, "", lambda: _defaults(_HOME / "evaluation/config.py", "MeasureConfig"))
    if fit.get("name"):
        fitted = str(fit["name"])
        words += [f"--fit {shlex.quote(fitted)}"]
        words += _flags(
            _without(fit), "fit.", lambda: _defaults(catalogue.find(fitted).path, "fit")
        )
    if watch.get("by"):
        words += [f"--watch {shlex.quote(str(watch['by']))}"]
        rest = {k: v for k, v in watch.items() if k != "by"}
        words += _flags(rest, "watch.", lambda: _defaults(_HOME / "watch/config.py", "WatchConfig"))
    return words


def _without(named: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in named.items() if k != "name"}


def _defaults(path: Path, name: str) -> dict[str, Parameter]:
    return from_text(path, name, positional=name == "world") or {}


def _flags(
    values: Mapping[str, Any], prefix: str, find: Callable[[], Mapping[str, Parameter]]
) -> list[str]:
    """Flags of what differs from its default. Where the default cannot be read, what is empty or
    off counts as left alone.
    """
    try:
        known = find()
    except (InputError, OSError):  # another assay's world, or a file that has gone
        known = {}
    order = {name: i for i, name in enumerate(known)}  # a record is sorted by name
    said = []
    for name, value in sorted(values.items(), key=lambda kv: order.get(kv[0], len(order))):
        default = known[name].default if name in known else None
        if _plain(value) == _plain(default) or (name not in known and value is False):
            continue
        said.append(_flag(f"{prefix}{name}", value))
    return said


def _plain(value: Any) -> Any:
    """As JSON has it, where tuples are lists; all that is empty is None."""
    value = list(value) if isinstance(value, tuple) else value
    return None if value in ("", [], {}) else value


def _flag(name: str, value: Any) -> str:
    typed = f"--{name.replace('_', '-')}"
    if value is True:
        return typed
    if value is False:
        head, dot, last = typed[2:].rpartition(".")
        return f"--{head}{dot}no-{last}"
    return f"{typed} {shlex.quote(_words(value))}"


def _words(value: Any) -> str:
    """A value as it is typed: lists with commas, or as JSON where a text in them has one."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ",".join(f"{k}={_words(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)) and value:
        words = [_words(v) for v in value]
        if not any(set(w) & set(',"[]\n') for w in words):
            return ",".join(words)
    return json.dumps(value, ensure_ascii=False)
