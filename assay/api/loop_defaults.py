"""The Loop's values that a recipe and a world set, read from the text of their files."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

from assay.registry.catalogue import Entry


def of_recipe(entry: Entry) -> dict[str, Any]:
    """The fields of the Loop that a recipe insists on."""
    if entry.function is None:
        return of_signature(entry.path, entry.verb)
    default = inspect.signature(entry.function).parameters["loop"].default
    return {name: getattr(default, name) for name in getattr(default, "given", ())}


def of_signature(path: Path, verb: str) -> dict[str, Any]:
    """The fields of the Loop that a signature sets: `loop: Loop = Loop(epochs=2)` →
    `{"epochs": 2}`.
    """
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == verb:
            for a, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                if a.arg == "loop" and isinstance(default, ast.Call):
                    return {
                        k.arg: k.value.value
                        for k in default.keywords
                        if k.arg and isinstance(k.value, ast.Constant)
                    }
    return {}


def of_world(path: Path) -> dict[str, Any] | None:
    """The fields of the Loop that suits a world: `World(…, loop=Loop(max_steps=60))` →
    `{"max_steps": 60}`.

    Args:
        path: The world's file.

    Returns:
        The fields by name; None where the text does not say them, because the Loop depends on the
        world's arguments.
    """
    found = [
        keyword.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "World"
        for keyword in node.keywords
        if keyword.arg == "loop"
    ]
    if len(found) != 1 or not isinstance(found[0], ast.Call):
        return None
    named = {k.arg: k.value for k in found[0].keywords}
    if ast.unparse(found[0].func) != "Loop" or found[0].args or None in named:
        return None
    return (
        {str(k): v.value for k, v in named.items() if isinstance(v, ast.Constant)}
        if all(isinstance(v, ast.Constant) for v in named.values())
        else None
    )
