"""`--config FILE` and `--print-config`: the flags of a command as TOML, YAML or JSON, a table for
each prefix.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.api.flags import Flag, find, fitted
from assay.cli.grammar import Grammar
from assay.cli.parsing import unknown
from assay.errors import InputError
from assay.safe_text import json_text

BARE = {
    "world": "name",
    "fit": "name",
    "watch": "by",
}  # `--world table` is `name = "table"` in the table [world]
MOST = 100_000  # values in a config file
CONFIG = {
    "config": Flag(
        "config",
        Path,
        None,
        "A TOML, YAML or JSON file with flags; flags on the command line win.",
        group="General",
    ),
    "print_config": Flag(
        "print_config", bool, False, "Print the resolved flags as TOML and stop.", group="General"
    ),
}


def read(path: Path) -> dict[str, Any]:
    """The flags of a config file, by name.

    Args:
        path: A file whose name ends in .toml, .yaml, .yml or .json. `[world] noise = 0.1` is
            `--world.noise 0.1`, and the table's `name` is `--world` itself (`by` for `--watch`).

    Raises:
        InputError: The file is not there, has another ending, or cannot be read.
    """
    if not path.is_file():
        raise InputError(f"there is no config file {path}")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            found = tomllib.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            import yaml

            found = yaml.safe_load(text)
        elif path.suffix == ".json":
            found = json.loads(text)
        else:
            raise InputError(
                f"{path} is not a config file that assay reads: name it .toml, .yaml or .json"
            )
        _must_be_plain(found)
    except InputError:
        raise
    except Exception as why:  # each format has errors of its own
        raise InputError(f"{path} cannot be read: {' '.join(str(why).split())}") from why
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold flags by name, and holds {type(found).__name__}")
    out: dict[str, Any] = {}
    for name, entry in found.items():
        name = str(name).replace("-", "_")
        if name in BARE and isinstance(entry, Mapping):
            for inner, v in entry.items():
                inner = str(inner).replace("-", "_")
                out[name if inner == BARE[name] else f"{name}.{inner}"] = v
        else:
            out[name] = entry
    return out


def settled(
    found: Mapping[str, Any], given: Mapping[str, Any], grammar: Grammar, path: Path
) -> dict[str, Any]:
    """The values of a config file, converted, without those that the command line gives.

    Args:
        found: What `read` returned.
        given: Values from the command line, by name.
        grammar: What the command takes.
        path: The file, for messages.

    Raises:
        InputError: A name that the command does not have, or a value of another type.
    """
    out: dict[str, Any] = {}
    for name, v in found.items():
        flag = find(name, grammar.flags)
        if flag is None:
            raise InputError(f"{path}: {unknown(name, grammar)}")
        if flag.name not in given and v is not None:
            several = flag.many and isinstance(v, list)
            where = f"{path}: {flag.name}"
            out[flag.name] = list(map(str, v)) if several else fitted(v, flag, where)
    return out


def toml(values: Mapping[str, Any]) -> str:
    """Values by flag name as TOML that `read` reads back: bare flags first, then a table for each
    prefix.
    """
    lines: list[str] = []
    tables: dict[str, list[str]] = {}
    for name, v in values.items():
        prefix, _, last = name.rpartition(".")
        if name in BARE:
            prefix, last = name, BARE[name]
        if not (name in BARE and v in ("", None)):
            (tables.setdefault(prefix, []) if prefix else lines).append(f"{last} = {_written(v)}")
    for prefix, rows in tables.items():
        first = f"{BARE.get(prefix, '')} = "
        lines += ["", f"[{prefix}]", *sorted(rows, key=lambda row: not row.startswith(first))]
    return "\n".join(lines).lstrip("\n") + "\n"


def _must_be_plain(found: Any) -> None:
    """Refuse dates, bytes and sets, which no flag takes, and what YAML's aliases multiply.

    Raises:
        ValueError: There is such a value, or there are more than MOST values.
    """
    left, count = [found], 0
    while left:
        v = left.pop()
        count += 1
        if count > MOST:
            raise ValueError(f"it holds more than {MOST} values, or itself")
        if isinstance(v, Mapping):
            left += [*v.keys(), *v.values()]
        elif isinstance(v, list):
            left += v
        elif not (v is None or isinstance(v, (bool, int, float, str))):
            raise ValueError(f"{v!r:.40} is neither text, number, list nor table; quote it")


def _written(v: Any) -> str:
    if v is None:
        return '"null"'
    if isinstance(v, float) and not math.isfinite(v):
        return str(v)  # TOML's inf and nan
    if isinstance(v, Mapping):
        return (
            "{"
            + ", ".join(f"{json_text(str(k))} = {_written(inner)}" for k, inner in v.items())
            + "}"
        )
    if isinstance(v, (list, tuple)):
        return "[" + ", ".join(_written(inner) for inner in v) + "]"
    return json_text(str(v) if isinstance(v, Path) else v)
