"""The folder is the registry: what lies in recipes/ and worlds/, read from the source text without
running it.

Listing parses files and imports nothing, so it needs no torch; `load` runs the one file that was
asked for.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from assay.errors import InputError

HOME = Path(__file__).resolve().parents[1]
VERBS = ("recipe", "fit", "study")


@dataclass(frozen=True)
class Entry:
    """A paper's file, as far as its text says: `fault` is why it could not be read, None where it
    could.
    """

    name: str
    path: Path
    verb: str = ""
    title: str = ""
    paper: dict[str, Any] = field(default_factory=dict)
    reduces: dict[str, Any] = field(default_factory=dict)
    about: str = ""
    statement: str | None = None
    effect: str = ""
    fault: str | None = None


def nearest(word: str, words: Iterable[str]) -> str:
    """ " (did you mean …?)" for the nearest word, or all of them where none is near."""
    words = sorted(words)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return (
        f"; did you mean {near[0]}?"
        if near
        else f"; there are {', '.join(words)}"
        if words
        else "; there are none"
    )


def read(path: Path) -> Entry:
    """One file's entry. Whatever is wrong with the file becomes its `fault`; nothing is raised and
    nothing is run.
    """
    try:
        module = ast.parse(path.read_text(encoding="utf-8"), str(path))
        return _entry(path, module)
    except (OSError, SyntaxError, ValueError) as why:
        return Entry(path.stem, path, fault=f"{path}: {why}")


def _entry(path: Path, module: ast.Module) -> Entry:
    literals: dict[str, ast.expr] = {}
    functions: dict[str, ast.FunctionDef] = {}
    for node in module.body:
        if (
            isinstance(node, ast.Assign)
            and len(node.targets) == 1
            and isinstance(node.targets[0], ast.Name)
        ):
            literals[node.targets[0].id] = node.value
        elif (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.value is not None
        ):
            literals[node.target.id] = node.value
        elif isinstance(node, ast.FunctionDef):
            functions[node.name] = node
    verbs = [v for v in VERBS if v in functions]
    if len(verbs) != 1:
        raise ValueError(
            f"a paper's file has one function named recipe, fit or study, and this has {len(verbs)}"
        )
    paper = _paper(literals.get("paper"))
    reduces = ast.literal_eval(literals["reduces"]) if "reduces" in literals else {}
    if not isinstance(reduces, dict):
        raise ValueError('reduces is not a dict {"parent": ({mine}, {the parent\'s})}')
    statement = _statement(functions["claim"]) if "claim" in functions else None
    effect = (ast.get_docstring(functions["claim"]) or "") if "claim" in functions else ""
    return Entry(
        path.stem,
        path,
        verbs[0],
        paper["title"],
        paper,
        reduces,
        ast.get_docstring(module) or "",
        statement,
        effect,
    )


def _paper(call: ast.expr | None) -> dict[str, Any]:
    if not isinstance(call, ast.Call):
        raise ValueError('it has no line paper = Paper("title", "authors", year, "url")')
    keys = ("title", "authors", "year", "url")
    found = {k: ast.literal_eval(a) for k, a in zip(keys, call.args)}
    found |= {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    if set(found) != set(keys):
        raise ValueError(
            f"its Paper has {', '.join(found) or 'nothing'}, and needs {', '.join(keys)}"
        )
    return found


def _statement(claim: ast.FunctionDef) -> str:
    for call in claim.decorator_list:
        if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "Claim":
            return str(ast.literal_eval(call.args[0]))
    raise ValueError('its function claim has no decorator @Claim("the statement", arms=…)')


def entries(folder: Path | None = None) -> list[Entry]:
    """Every file of the recipes' folder, by name; files that begin with an underscore are not
    papers.
    """
    return [
        read(p)
        for p in sorted((folder or HOME / "recipes").glob("*.py"))
        if not p.stem.startswith("_")
    ]


def is_path(name: str) -> bool:
    """Whether a name of a recipe or a world is a file of the user's own."""
    return name.endswith(".py") or "/" in name


def find(name: str) -> Entry:
    """The entry of a recipe's name, or of a path such as ./mine.py. Raises InputError with the
    nearest name.
    """
    if is_path(name):
        path = Path(name)
        if not path.is_file():
            raise InputError(
                f"there is no file {name}; a recipe is a name from `assay list` or the path of a "
                "Python file"
            )
        entry = read(path)
    else:
        path = HOME / "recipes" / f"{name}.py"
        known = [p.stem for p in (HOME / "recipes").glob("*.py") if not p.stem.startswith("_")]
        if name not in known:
            raise InputError(f"there is no recipe '{name}'{nearest(name, known)}")
        entry = read(path)
    if entry.fault:
        raise InputError(f"{name} cannot be used: {entry.fault}")
    return entry


def load(entry: Entry) -> ModuleType:
    """Run the file and return its module. A file of the user's own is run from where it lies."""
    if entry.path.parent == HOME / "recipes":
        return importlib.import_module(f"assay.recipes.{entry.name}")
    return _imported(entry.path)


def _imported(path: Path) -> ModuleType:
    """A file of the user's own as a module, run from where it lies. Raises InputError where it
    cannot be.
    """
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
    """The worlds' names: files of worlds/ that define `world`."""
    return [
        p.stem
        for p in sorted((HOME / "worlds").glob("*.py"))
        if "\ndef world(" in p.read_text(encoding="utf-8")
    ]


def load_world(name: str) -> Any:
    """The function `world` of worlds/NAME.py, or of a path such as ./mine.py. Raises InputError
    with the nearest name.
    """
    if is_path(name):
        if not Path(name).is_file():
            raise InputError(
                f"there is no file {name}; a world is one of {', '.join(worlds())}, or the path "
                "of a Python file with a function world(*, seed=0, …)"
            )
        made = getattr(_imported(Path(name)), "world", None)
        if not callable(made):
            raise InputError(
                f"{name} has no function named world: world(*, seed=0, …) returns an "
                "assay.core.World"
            )
        return made
    if name not in worlds():
        raise InputError(f"there is no world '{name}'{nearest(name, worlds())}")
    return importlib.import_module(f"assay.worlds.{name}").world


def loop_of(function: Any, world_loop: Any, given: Mapping[str, Any]) -> Any:
    """A run's Loop: the paper's own constants, over them the world's, over them what was asked for.

    "Own" is what differs from Loop(): a recipe that says nothing of `lr` leaves it to the world.
    """
    own = inspect.signature(function).parameters["loop"].default
    plain = type(own)()
    world = plain if world_loop is None else world_loop
    theirs = {
        f.name: getattr(world, f.name)
        for f in fields(plain)
        if getattr(world, f.name) != getattr(plain, f.name)
    }
    return replace(own, **{**theirs, **given})


def bibtex(entry: Entry) -> str:
    """The paper as a BibTeX entry, keyed by the recipe's name."""
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
