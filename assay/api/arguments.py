"""Keyword arguments of Python as values by flag name, and refusals in Python's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from assay.api import flags, settings
from assay.api.flags import Flag
from assay.api.live import model_named, preference_named, rewards_named, rows_named
from assay.errors import InputError, NotWritten
from assay.registry.entry import Entry

_FLAG = re.compile(r"(?<!\w)--(?:world\.)?([a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)*)")
_MAPPING = re.compile(r"--(columns|label-map) ([\w.-]+=(?:[\w.]*\w)?(?:,[\w.-]+=(?:[\w.]*\w)?)*)")
_ANEW = re.compile(r"start another run with --from \S+")
_COMMAND = re.compile(r"assay [a-z]+[^;,.)]*")


def by_flag(
    entry: Entry,
    arguments: Mapping[str, Any],
    *,
    world: str = "",
    model: Any = None,
    tokenizer: Any = None,
    prompts: Any = None,
    pairs: Any = None,
    demos: Any = None,
    rewards: Any = None,
    preference: Any = None,
    gold: Any = None,
) -> dict[str, Any]:
    """Values by flag name.

    Args:
        entry: The recipe.
        arguments: Further arguments by name: the recipe's constants, the Loop's fields, those of
            the world and of the run.
        world: The world's name; that of the model where it is empty.
        model: See `train`; so are the others.
        tokenizer: See `train`.
        prompts: See `train`.
        pairs: See `train`.
        demos: See `train`.
        rewards: See `train`.
        preference: See `train`.
        gold: See `train`.

    Raises:
        InputError: A name is no argument of the recipe in this world.
    """
    given: dict[str, Any] = {
        "world.policy": model_named(model, tokenizer),
        "world.prompts": rows_named(prompts, "prompts") or None,
        "world.pairs": rows_named(pairs, "pairs") or None,
        "world.demos": rows_named(demos, "demos") or None,
        "world.rewards": rewards_named(rewards, "rewards") or None,
        "world.preference": preference_named(preference),
        "world.gold": next(iter(rewards_named(gold, "gold")), None),
    }
    given = {k: v for k, v in given.items() if v is not None}
    world = world or ("hub" if "world.policy" in given else settings.run()["world"].default)
    known = settings.known(entry, world, str(arguments.get("fit") or ""))
    lacking = next((k for k in given if k not in known), None)
    if lacking:
        raise InputError(
            f"world {world} takes no {lacking.removeprefix('world.')}; pass model= to train your "
            "own model"
        )
    more = _defaults(model, arguments) if world == "hub" else {}
    for name, value in {**more, **arguments}.items():
        if value is None:
            continue
        flag = flags.find(name, known) or flags.find(name.replace("__", ".", 1), known)
        if flag is None:
            where = settings.elsewhere(name)
            what = f"{entry.name} in world {world}"
            raise InputError(
                flags.no_such(what, name, name, known, where, f"; assay show {entry.name}")
            )
        given[flag.name] = plain(value)
    return {**given, "world": world}


def _defaults(model: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Where and in what an open model computes, where nothing else is asked for."""
    found: dict[str, Any] = {}
    weight = next(iter(model.parameters()), None) if hasattr(model, "parameters") else None
    if weight is None:
        return found
    dtype = str(weight.dtype).removeprefix("torch.")
    if "dtype" not in arguments and dtype in ("bfloat16", "float64"):
        found["dtype"] = dtype
    if "device" not in arguments and weight.device.type in ("cpu", "cuda"):
        found["device"] = str(weight.device)
    return found


def plain(value: Any) -> Any:
    """A path, a dtype or a device as text, a number of numpy or torch as Python's."""
    if isinstance(value, (Path, torch.device)):
        return str(value)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, (list, tuple)):
        return tuple(plain(v) for v in value)
    return value.item() if hasattr(value, "item") else value


def known_to(entry: Entry, arguments: Mapping[str, Any]) -> dict[str, Flag]:
    """Every flag of a recipe in the world that `train`'s arguments name or imply.

    Args:
        entry: The recipe.
        arguments: As `train` takes them.
    """
    implied = "hub" if arguments.get("model") is not None else settings.run()["world"].default
    world = arguments.get("world") or implied
    return settings.known(entry, world, str(arguments.get("fit") or ""))


@contextmanager
def in_python() -> Iterator[None]:
    """Say refusals in Python's words: `max_tokens` where a sentence has `--max-tokens`."""
    try:
        yield
    except NotWritten as why:  # whose cause says what the system refused
        refused = NotWritten(pythonic(str(why)))
        refused.errno, refused.filename = why.errno, why.filename
        raise refused from why.__cause__
    except InputError as why:  # raised anew, so that the traceback ends where Python called
        raise type(why)(pythonic(str(why))) from None


def _as_dict(typed: re.Match[str]) -> str:
    """A flag's mapping as a dict."""
    pairs = (pair.partition("=") for pair in typed[2].split(","))
    inner = ", ".join(f'"{name}": "{meaning}"' for name, _, meaning in pairs)
    return f"{typed[1].replace('-', '_')}={{{inner}}}"


def pythonic(text: str) -> str:
    """A sentence with arguments in place of flags; commands of the shell stay as they are.

    Example:
        >>> pythonic("lower --max-tokens, or go on by assay run --resume --out x")
        'lower max_tokens, or go on by assay run --resume --out x'
    """
    text = _MAPPING.sub(_as_dict, text)
    text = _ANEW.sub("begin another run with another out", text)
    commands = [m.span() for m in _COMMAND.finditer(text)]

    def said(m: re.Match[str]) -> str:
        if any(a <= m.start() < b for a, b in commands):
            return m.group()
        name = m.group(1).replace("-", "_")
        return "model" if name == "policy" else name

    return _FLAG.sub(said, text)
