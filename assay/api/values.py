"""Text from the command line or a config file as values of a parameter's type; grids such as
`lam=0,.1,.5`.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from assay.errors import InputError
from assay.registry.parameters import choices

LISTS, MAPPINGS = (list, tuple, Sequence, Iterable), (dict, Mapping)
UNIONS = (types.UnionType, typing.Union)


def said(kind: Any) -> str:
    """A type in words, for error messages."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in UNIONS:
        return " or ".join(
            dict.fromkeys(said(k) for k in inner if k is not Path or str not in inner)
        )
    if origin is Literal:
        return " or ".join(str(c) for c in inner)
    if origin in MAPPINGS or kind in MAPPINGS:
        return "a list of pairs, such as prompt=question"
    if origin in LISTS or kind in LISTS:
        elements = [k for k in inner if k is not ...]
        each = f" ({said(elements[0])} each)" if elements else ""
        return f"a list, such as 1,2,3{each}"
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
        type(None): "null",
    }
    return names.get(kind, "a JSON value")


def metavar(kind: Any) -> str:
    """A type as help shows it after the flag; empty for a switch."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if choices(kind):
        return "{" + ",".join(str(c) for c in choices(kind)) + "}"
    if origin in UNIONS:
        kinds = [k for k in inner if k is not type(None) and not (k is str and Path in inner)]
        return "|".join(dict.fromkeys(metavar(k) for k in kinds))
    if origin in MAPPINGS or kind in MAPPINGS:
        return "NAME=VALUE,…"
    if origin in LISTS or kind in LISTS:
        return f"{metavar(inner[0]) if inner else 'JSON'},…"
    return {bool: "", int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}.get(kind, "JSON")


def shown(value: Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, (str, Path)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return ",".join(shown(v) for v in value)
    if isinstance(value, Mapping):
        if any(c in f"{k}{v}" for k, v in value.items() for c in ",="):
            return json.dumps(dict(value), ensure_ascii=False)
        return ",".join(f"{k}={shown(v)}" for k, v in value.items())
    return json.dumps(value, default=str)


def value(text: str, kind: Any, name: str) -> Any:
    """Text as a value of a type.

    Args:
        text: What was typed.
        kind: The annotation of the parameter.
        name: The flag, for the message.

    Returns:
        The value.

    Raises:
        InputError: The text is no value of this type.
    """
    try:
        return _value(text, kind)
    except (ValueError, TypeError, RecursionError) as why:
        raise InputError(f"{name} is '{text}', and {said(kind)} was expected") from why


def _value(text: str, kind: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in UNIONS:
        for k in sorted(
            inner, key=lambda k: k is str
        ):  # text matches everything, so it is tried last
            if k is Path and "://" in text and str in inner:
                continue  # an address: a path would lose a slash
            try:
                return _value(text, k)
            except (ValueError, TypeError):
                continue
        raise ValueError(text)
    if origin is Literal:
        return next((c for c in inner if str(c) == text), None) or _no(text)
    if origin in MAPPINGS or kind in MAPPINGS:
        if text.lstrip().startswith("{"):
            pairs = json.loads(text)
        else:
            pairs = dict(_pair(p) for p in text.split(",") if p.strip())
        element = inner[1] if inner else Any
        return {
            k: _value(v if isinstance(v, str) else json.dumps(v), element) for k, v in pairs.items()
        }
    if origin in LISTS or kind in LISTS:
        if text.lstrip().startswith("["):
            parts = json.loads(text)
        else:
            parts = [p.strip() for p in text.split(",") if p.strip()]
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
    return (name.strip(), v.strip()) if equals and name.strip() else _no(text)  # "" for no value


def _no(text: str) -> Any:
    raise ValueError(text)


def several(text: str) -> list[str]:
    """`0,.1,.5` or `0..4` (both ends included) as separate texts; JSON lists may stand among them:
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
