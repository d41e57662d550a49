"""Find recipes and worlds: the folders recipes/ and worlds/ are the registry.

Listing parses the files' text and imports nothing, so it needs no torch. `load` runs the one file
that is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from assay.errors import InputError
from assay.registry.entry import Entry as Entry
from assay.registry.entry import read as read

HOME = Path(__file__).resolve().parents[1]
# how a paper is started, after `assay`
START = {"recipe": "run {}", "fit": "run RECIPE --fit {}", "study": "study {}"}
# what the field calls a method → the recipe here, with the flags that make it so
FIELD_NAMES = {
    "rloo": "leave_one_out",
    "reinforce": "leave_one_out",
    "bon": "best_of_n",
    "dr_grpo": "grpo --no-standardise --no-length-mean",
    "warp": "merging",
    "ipo": "direct_alignment --loss ipo",
}

MANY, FEW = 30, 5  # a message names all of so many words, else the nearest few


def nearest(word: str, words: Iterable[str]) -> str:
    """Make the end of a sentence: "; did you mean …?", or all words where none is near; of many
    words the nearest few.

    Args:
        word: What was asked for.
        words: What there is.
    """
    words = sorted(words)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    if not near and len(words) > MANY:
        some = difflib.get_close_matches(word, words, n=FEW, cutoff=0.3)
        verb = "is" if len(some) == 1 else "are"
        return f"; the nearest {verb} {', '.join(some)}" if some else ""
    return (
        f"; did you mean {near[0]}?"
        if near
        else f"; there are {', '.join(words)}"
        if words
        else "; there are none"
    )


def entries(folder: Path | None = None) -> list[Entry]:
    """Read every paper's file, in the order of names.

    Args:
        folder: Where the files are; the package's recipes by default. Files whose names begin with
            an underscore are left out.
    """
    return [
        read(p)
        for p in sorted((folder or HOME / "recipes").glob("*.py"))
        if not p.stem.startswith("_")
    ]


def is_path(name: str) -> bool:
    """Tell whether the name of a recipe or a world is a path to the user's own file."""
    return name.endswith(".py") or "/" in name


def find(name: str, verb: str = "") -> Entry:
    """Find a recipe.

    Args:
        name: A name from `assay list`, or a path such as ./mine.py.
        verb: recipe, fit or study, whose names alone a message advises; "" for all.

    Raises:
        InputError: There is no such recipe (the message has the nearest name), or its file cannot
            be read.
    """
    if is_path(name):
        path = Path(name)
        if path.suffix != ".py" or not path.is_file():
            raise InputError(
                f"{_no_file(name)}; give a name from `assay list`, or the path of a Python file"
            )
        entry = read(path)
    else:
        path = HOME / "recipes" / f"{name}.py"
        known = [p.stem for p in (HOME / "recipes").glob("*.py") if not p.stem.startswith("_")]
        if name not in known:
            word = name.lower().replace("-", "_")
            meant = FIELD_NAMES.get(word) or (word if word in known else "")
            these = [e.name for e in entries() if verb in ("", e.verb)]
            hint = f"; did you mean {meant}?" if meant else nearest(word, these)
            hint += "" if hint.endswith("?") else "; assay list names them"
            raise InputError(f"there is no recipe '{name}'{hint}")
        entry = read(path)
    if entry.fault:
        raise InputError(f"{name} cannot be used: {entry.fault}")
    return entry


def _no_file(name: str) -> str:
    """Why a path names no Python file: a compiled one could be imported, and cannot be read."""
    return f"{name} is not named *.py" if Path(name).is_file() else f"there is no file {name}"


def own_world(entry: Entry | None) -> str:
    """The world of a study that makes all it needs by itself: "study"; "" for everything else."""
    alone = entry is not None and entry.verb == "study" and entry.worlds == ("study",)
    return "study" if alone else ""


def load(entry: Entry) -> ModuleType:
    """Import an entry's file and return its module."""
    if entry.path.parent == HOME / "recipes":
        return importlib.import_module(f"assay.recipes.{entry.name}")
    return _imported(entry.path)


def _imported(path: Path) -> ModuleType:
    """Import a user's own file. Raises InputError where it cannot be imported."""
    name = f"assay_mine_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as why:
        raise InputError(f"{path} cannot be imported ({type(why).__name__}: {why})") from why
    return module


def worlds() -> list[str]:
    """List the worlds' names: files of worlds/ that define `world`."""
    return [
        p.stem
        for p in sorted((HOME / "worlds").glob("*.py"))
        if "\ndef world(" in p.read_text(encoding="utf-8")
    ]


def find_world(name: str) -> Path:
    """The file of a world.

    Args:
        name: A world's name, or a path such as ./mine.py.

    Raises:
        InputError: There is no such world; names the nearest one.
    """
    if is_path(name):
        if Path(name).suffix != ".py" or not Path(name).is_file():
            raise InputError(
                f"{_no_file(name)}; a world is one of {', '.join(worlds())}, or the path "
                "of a "
                "Python file with a function world(*, seed=0, …)"
            )
        return Path(name)
    if name not in worlds():
        raise InputError(f"there is no world '{name}'{nearest(name, worlds())}")
    return HOME / "worlds" / f"{name}.py"


def load_world(name: str) -> Any:
    """The function `world` of a world's file.

    Args:
        name: A world's name, or a path such as ./mine.py.

    Raises:
        InputError: There is no such world, or the file has no function `world`.
    """
    path = find_world(name)
    if not is_path(name):
        return importlib.import_module(f"assay.worlds.{name}").world
    made = getattr(_imported(path), "world", None)
    if not callable(made):
        raise InputError(
            f"{name} has no function named world: world(*, seed=0, …) returns an assay.core.World"
        )
    return made


def loop_of(function: Any, world_loop: Any, given: Mapping[str, Any]) -> Any:
    """Resolve the Loop of a run.

    A field is what the user asked for; else what the recipe insists on; else what suits the world;
    else the default. A recipe insists on the fields that the `Loop(…)` in its signature gives, also
    on a default value: `loop=Loop(epochs=1)` is one epoch in every world.

    Args:
        function: A recipe's or a fit's function; it has a parameter `loop`.
        world_loop: The world's Loop, or None.
        given: Fields that the user asked for.

    Returns:
        The Loop to run with.
    """
    own = inspect.signature(function).parameters["loop"].default
    world = own if world_loop is None else world_loop
    insisted = {name: getattr(own, name) for name in own.given}
    return replace(world, **{**insisted, **given})


def bibtex(entry: Entry) -> str:
    """Write the paper as a BibTeX entry, keyed by the recipe's name.

    Raises:
        InputError: The file names no paper.
    """
    if not entry.paper:
        raise InputError(
            f"{entry.name} names no paper; give its file a line "
            "paper = Paper(title, authors, year, url)"
        )
    paper = {
        k: re.sub(r"([&%#_$])", r"\\\1", v) if isinstance(v, str) and k != "url" else v
        for k, v in entry.paper.items()
    }
    lines = [
        f"  title = {{{{{paper['title']}}}}}",
        f"  author = {{{paper['authors'].replace('et al.', 'and others')}}}",
        f"  year = {{{paper['year']}}}",
    ]
    if paper["url"].startswith("arXiv:"):
        number = paper["url"].removeprefix("arXiv:")
        lines += [
            f"  eprint = {{{number}}}",
            "  archivePrefix = {arXiv}",
            f"  url = {{https://arxiv.org/abs/{number}}}",
        ]
    else:
        lines.append(f"  url = {{{paper['url']}}}")
    return f"@misc{{{entry.name},\n" + ",\n".join(lines) + "\n}"
