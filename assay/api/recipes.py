"""A recipe by its name, its file, or the function itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.registry import catalogue
from assay.registry.entry import Entry


def recipe_entry(recipe: str | Path | Callable[..., Any]) -> Entry:
    """What a recipe's file says of itself, or the same of a function.

    Args:
        recipe: A name that `assay list` shows, the path of a Python file, or a generator function
            `recipe(task, *, loop, …)`.

    Raises:
        InputError: There is no such recipe, or the function cannot be one.
    """
    if isinstance(recipe, (str, Path)):
        entry = catalogue.find(str(recipe))
        if entry.verb != "recipe":
            raise InputError(
                f"{entry.name} is a {entry.verb}, and assay.train takes a recipe; `assay list` "
                "shows them"
            )
        return entry
    if not inspect.isgeneratorfunction(inspect.unwrap(recipe)):
        raise InputError(
            f"recipe is a {type(recipe).__name__}; pass a name, a file, or a generator function "
            "`recipe(task, *, loop)` that yields an assay.core.Step after each step"
        )
    parameters = inspect.signature(recipe).parameters
    if "loop" not in parameters or parameters["loop"].default is inspect.Parameter.empty:
        raise InputError(
            f"{recipe.__name__} has no parameter `loop` with a default; write "
            "`loop: Loop = Loop()` (from assay.core import Loop) among its keywords"
        )
    module = inspect.getmodule(recipe)
    home = catalogue.HOME / "recipes"
    file = Path(getattr(module, "__file__", None) or "<python>")
    if file.parent == home:
        return catalogue.find(file.stem)
    name = recipe.__name__ if recipe.__name__ != "recipe" or module is None else file.stem
    about = inspect.getdoc(recipe) or ""
    return Entry(
        name=name,
        path=file,
        verb="recipe",
        title=about.partition("\n")[0],
        about=about,
        function=recipe,
    )
