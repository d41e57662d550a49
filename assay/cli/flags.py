"""The signature is the configuration: flags from a function's keyword-only parameters, values from
text, Loop's resolution.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.registry.catalogue import nearest

REQUIRED = inspect.Parameter.empty
_RENAMED = re.compile(r"[a-z]+=[^=,/]+")
LISTS, MAPPINGS = (list, tuple, Sequence), (dict, Mapping)


@dataclass(frozen=True)
class Flag:
    """One `--name`: its type (an annotation), its default, and what it is for. `many`: it may be
    given more than once.
    """

    name: str
    type: Any = str
    default: Any = None
    about: str = ""
    many: bool = False

    @property
    def switch(self) -> bool:
        """A flag that needs no value: `--json` is `--json true`."""
        return self.type is bool


def of(
    function: Callable[..., Any], *, prefix: str = "", without: Iterable[str] = ("loop",)
) -> dict[str, Flag]:
    """The flags of a function's keyword-only parameters, or of a dataclass's fields. One without a
    default must be given.
    """
    try:
        hints = typing.get_type_hints(function)
    except NameError as why:
        raise InputError(
            f"the annotations of {function.__module__}.{function.__name__} cannot be read: {why}"
        ) from why
    found = {}
    for p in inspect.signature(function).parameters.values():
        if (p.kind is p.KEYWORD_ONLY or is_dataclass(function)) and p.name not in without:
            kind = hints.get(p.name, Any if p.default in (None, REQUIRED) else type(p.default))
            found[prefix + p.name] = Flag(prefix + p.name, kind, p.default)
    return found


def split(
    tokens: list[str], switches: Iterable[str] = ()
) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Words and flags. `--name value`, `--name=value`, `--name` (true) and `--no-name` (false, once
    the name is known). Columns may stand one after another: `--columns prompt=question
    chosen=good`.
    """
    words: list[str] = []
    given: list[tuple[str, str | None]] = []
    switches, i = set(switches), 0
    while i < len(tokens):
        token = "--out" if tokens[i] == "-o" else "--help" if tokens[i] == "-h" else tokens[i]
        i += 1
        if not token.startswith("--"):
            words.append(token)
            continue
        name, equals, value = token[2:].partition("=")
        name = name.replace("-", "_")
        if equals:
            given.append((name, value))
        elif (
            name not in switches
            and i < len(tokens)
            and not tokens[i].startswith("--")
            and tokens[i] != "-o"
        ):
            given.append((name, tokens[i]))
            i += 1
            while (
                name.rpartition(".")[2] == "columns"
                and i < len(tokens)
                and _RENAMED.fullmatch(tokens[i])
            ):
                given[-1] = (name, f"{given[-1][1]},{tokens[i]}")
                i += 1
        else:
            given.append((name, None))
    return words, given


def parse(
    given: list[tuple[str, str | None]], known: Mapping[str, Flag], what: str
) -> dict[str, Any]:
    """The values given, by name. Raises InputError for a name that `what` does not have, a wrong
    type, or two values.
    """
    values: dict[str, Any] = {}
    for name, text in given:
        if (
            name.startswith("no_")
            and name not in known
            and name[3:] in known
            and known[name[3:]].switch
            and text is None
        ):
            name, text = name[3:], "false"
        flag = known.get(name)
        if flag is None:
            raise InputError(f"{what} has no --{typed(name)}{nearest_flag(name, known)}")
        name = flag.name  # a flag may be known by a second, shorter name
        if text is None:
            if not flag.switch:
                raise InputError(f"--{typed(name)} needs a value: {said(flag.type)}")
            text = "true"
        if flag.many:
            values.setdefault(name, []).append(text)
        elif name in values:
            raise InputError(f"--{typed(name)} is given twice; give it once")
        else:
            values[name] = value(text, flag.type, f"--{typed(name)}")
    return values


def typed(name: str) -> str:
    """A flag's name as a person types it."""
    return name.replace("_", "-")


def nearest_flag(name: str, known: Iterable[str]) -> str:
    """The nearest flag's name, as a person types it."""
    return nearest(f"--{typed(name)}", [f"--{typed(k)}" for k in known])


def said(kind: Any) -> str:
    """A type in words."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(said(k) for k in typing.get_args(kind) if k is not Path))
    if typing.get_origin(kind) in MAPPINGS:
        return "a list of pairs, such as prompt=question"
    if typing.get_origin(kind) in LISTS or kind in LISTS:
        inner = [k for k in typing.get_args(kind) if k is not ...]
        return (
            f"a list, such as 1,2,3 ({said(inner[0])} each)" if inner else "a list, such as 1,2,3"
        )
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
        type(None): "null",
    }
    return names.get(kind, "a JSON value")


def value(text: str, kind: Any, name: str) -> Any:
    """Text as a value of a type, or an InputError that says what was found and what was expected."""
    try:
        return _value(text, kind)
    except (ValueError, TypeError) as why:
        raise InputError(f"{name} is '{text}', and {said(kind)} was expected") from why


def _value(text: str, kind: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        for k in sorted(
            inner, key=lambda k: k is str
        ):  # text matches everything, so it is tried last
            try:
                return _value(text, k)
            except (ValueError, TypeError):
                continue
        raise ValueError(text)
    if origin in MAPPINGS:
        pairs = (
            json.loads(text)
            if text.lstrip().startswith("{")
            else dict(_pair(p) for p in text.split(",") if p.strip())
        )
        return {
            k: _value(v if isinstance(v, str) else json.dumps(v), inner[1])
            for k, v in pairs.items()
        }
    if origin in LISTS or kind in LISTS:
        parts = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [p.strip() for p in text.split(",") if p.strip()]
        )
        element = inner[0] if inner else Any
        items = [_value(p if isinstance(p, str) else json.dumps(p), element) for p in parts]
        return items if (origin or kind) is list else tuple(items)
    if kind is bool:
        words = {"true": True, "false": False, "1": True, "0": False}
        return words[text.lower()] if text.lower() in words else _no(text)
    if kind is type(None):
        return None if text in ("null", "none", "None") else _no(text)
    if kind is int:
        return int(text)
    if kind is float:
        number = float(text)
        return number if math.isfinite(number) else _no(text)
    return kind(text) if kind in (str, Path) else json.loads(text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, v = text.partition("=")
    return (name.strip(), v.strip()) if equals and name.strip() and v.strip() else _no(text)


def _no(text: str) -> Any:
    raise ValueError(text)


def grid(overs: list[str], known: Mapping[str, Flag], what: str) -> list[dict[str, Any]]:
    """`["lam=0,.1", "seed=0..2"]` as a list of settings: the product, the last name running
    fastest.
    """
    settings: list[dict[str, Any]] = [{}]
    for over in overs:
        name, equals, text = over.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals or not text.strip():
            raise InputError(
                f"--over is '{over}', and a name with its values was expected, such as lam=0,.1,.5 "
                "or seed=0..4"
            )
        if name not in known:
            raise InputError(f"{what} has no --{name} to vary{nearest_flag(name, known)}")
        name = known[name].name
        if any(name in s for s in settings):
            raise InputError(f"--over {name} is given twice; give all its values once")
        values = [value(t, known[name].type, f"--over {name}") for t in several(text)]
        settings = [{**s, name: v} for s in settings for v in values]
    return settings


def several(text: str) -> list[str]:
    """`0,.1,.5` or `0..4` (both ends are in) as separate texts; JSON lists may stand among them:
    `[1,2],[3]`.
    """
    low, dots, high = text.partition("..")
    if dots and low.strip().lstrip("-").isdigit() and high.strip().lstrip("-").isdigit():
        numbers = [str(i) for i in range(int(low), int(high) + 1)]
        if not numbers:
            raise InputError(f"'{text}' holds nothing: write the smaller number first")
        return numbers
    parts, depth = [""], 0
    for c in text:
        depth += (c == "[") - (c == "]")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts if p.strip()]
