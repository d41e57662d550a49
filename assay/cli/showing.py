"""show: one paper or world, read from its text without importing torch."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from assay.api import loop_defaults, settings
from assay.api.flags import Flag
from assay.api.values import metavar, said, shown
from assay.cli import screen
from assay.cli.endings import ending, folded
from assay.cli.listing import about_world, here
from assay.registry import catalogue, docstrings
from assay.registry.catalogue import Entry
from assay.registry.parameters import REQUIRED
from assay.safe_text import json_text

NEEDS = {  # the parts of a task, and the flags that bring them
    "rewards": (
        "--rewards",
        "reward models: a folder of assay fit, FILE.py:name, http://…, or a classifier",
    ),
    "pairs": ("--pairs", "a file of preference pairs"),
    "demos": ("--demos", "a file of demonstrations"),
    "labelled": ("--demos", "a file of completions labelled true or false"),
    "preference": ("", "a preference model, which some settings read and few worlds have"),
    "others": ("--others", "other models by name, such as strong=FOLDER, which some settings read"),
    "reply": ("", "a world that replies"),
}
FILES = {
    "rewards": "--rewards judge.py:score",
    "pairs": "--pairs pairs.jsonl",
    "demos": "--demos demos.jsonl",
    "labelled": "--demos labelled.jsonl",
    "others": "--others strong=MODEL",
}
FOLDER = "runs/{}"
WITH = " with your model (embedded worlds have values of their own)"
ELSE = ", where the world says nothing else"


def show_(name: str, *, source: bool = False, json_: bool = False) -> int:
    """Show one paper or world: what it does, what it needs, its constants, how it is run.

    Args:
        name: A name that `assay list` has, or the path of a Python file.
        source: Print the file's text and nothing else.

    Example:
        assay show grpo
        assay show table --json
    """
    if name in catalogue.worlds():
        return _show_world(name, source, json_)
    entry = catalogue.find(name)
    if source:
        print(entry.path.read_text(encoding="utf-8"), end="")
        return 0
    found = settings.of_file(entry.path, entry.verb, lambda: settings.function_of(entry))
    own = loop_defaults.of_recipe(entry)
    world = "hub" if entry.verb == "recipe" else ""
    loop = _loop(world, own) if _trains(entry) else {}
    text = _doc(entry)
    if json_:
        print(
            json_text(
                {
                    "name": entry.name,
                    "verb": entry.verb,
                    "title": entry.title,
                    "path": here(entry.path),
                    "reduces": entry.reduces,
                    "needs": list(entry.needs),
                    "paper": entry.paper,
                    "about": entry.about,
                    "constants": _constants(found),
                    "constants_about": text,
                    "loop": loop,
                    "examples": examples(entry),
                    "claim": entry.statement,
                },
                default=lambda v: None if v is REQUIRED else str(v),
            )
        )
        return 0
    paper, docs = entry.paper, docstrings.parse(text, list(found))
    parts = {
        "": f"{entry.name}, a {entry.verb}\n\n{screen.wrapped(entry.about)}",
        "Paper": screen.wrapped(
            f"{entry.title} ({paper['authors']}, {paper['year']}, {paper['url']})", 2
        )
        if paper
        else "",
        "Needs": _needs(entry),
        "Run it": "\n".join(
            f"  {k}:\n    {folded(v, 74, '        ')}" for k, v in examples(entry).items()
        ),
        "Constants": _table(found, "fit." if entry.verb == "fit" else ""),
        "Notes on them": screen.wrapped(docs.body, 2),
        f"Loop{WITH if world else ELSE}": _loop_table(loop),
        "Reduces to": "\n".join(f"  {_reduced(k, *v)}" for k, v in entry.reduces.items()),
        "Claim": screen.wrapped(entry.statement or "", 2),
    }
    _print(parts, here(entry.path))
    ending(("its source", f"assay show {name} --source"), ("its paper", f"assay cite {name}"))
    return 0


def examples(entry: Entry) -> dict[str, str]:
    """A command for a world, and one for a model of yours, where the paper runs with one."""
    from assay.evidence.manual import parts

    found = parts(entry.path)
    world = (found["worlds"] or ("table",))[0]
    on = "".join(f" --world.{k} {v}" for k, v in found["on"].get(world, {}).items())
    out, name = FOLDER.format(entry.name), entry.name
    place = f"--world {world}{on}"
    if entry.verb == "study":
        return {"in a world": f"assay study {name} {place} --out {out}"}
    if entry.verb == "fit":
        how = "".join(f" --{k.replace('_', '-')} {v}" for k, v in found["fit"].items())
        return {"in a world": f"assay run leave_one_out --fit {name}{how} {place} --out {out}"}
    made = {"in a world": f"assay run {name} {place} --out {out}"}
    if found["worlds"] != ("sums",) and not on:
        own = settings.of_file(entry.path, entry.verb, lambda: settings.function_of(entry))
        either = _either(entry.needs) and "rewards" not in entry.needs
        needs = [p for p in entry.needs if not (either and p == "pairs")]  # one of the two will do
        given = [FILES[p] for p in needs if p in FILES and p not in own]
        files = " ".join(["--model MODEL --prompts prompts.jsonl", *given, "--gold gold.py:score"])
        made["with your model"] = f"assay run {name} {files} --out {out}"
    return made


def _print(parts: Mapping[str, str], path: str) -> None:
    """Sections with their headings; empty ones are left out."""
    said = [
        f"{screen.heading(title)}\n{text}" if title else text
        for title, text in parts.items()
        if text.strip()
    ]
    print("\n\n".join([*said, path]))


def _trains(entry: Entry) -> bool:
    """Whether the function of a paper takes a loop."""
    text = ast.parse(entry.path.read_text(encoding="utf-8"))
    return any(
        isinstance(n, ast.FunctionDef)
        and n.name == entry.verb
        and "loop" in [a.arg for a in n.args.kwonlyargs]
        for n in text.body
    )


def _loop(world: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The Loop's values of a run in a world; where none is named, the Loop's own defaults."""
    found = settings.loop_of(world, own) if world else settings.loop()
    return {k: own.get(k, f.default) for k, f in found.items()}


def _loop_table(loop: Mapping[str, Any]) -> str:
    rows = [
        (f"--{k.replace('_', '-')}", "the world's" if v is None else shown(v))
        for k, v in loop.items()
    ]
    return screen.table(("", ""), rows, indent=2) if rows else ""


def _doc(entry: Entry) -> str:
    """The docstring of a paper's function."""
    text = ast.parse(entry.path.read_text(encoding="utf-8"))
    functions = {n.name: n for n in text.body if isinstance(n, ast.FunctionDef)}
    return ast.get_docstring(functions[entry.verb]) or ""


def _needs(entry: Entry) -> str:
    rows = [(NEEDS[p][0] or p, NEEDS[p][1]) for p in entry.needs]
    if _either(entry.needs) and "rewards" not in entry.needs:
        what = NEEDS["labelled"][1] if "labelled" in entry.needs else "a file of demonstrations"
        rows = [
            ("--pairs or --demos", f"a file of preference pairs, or {what.removeprefix('a file ')}")
        ]
    return screen.table(("", ""), rows, indent=2) if rows and entry.verb == "recipe" else ""


def _either(needs: Sequence[str]) -> bool:
    """Whether pairs are one of two kinds of files, either of which will do."""
    return "pairs" in needs and bool({"demos", "labelled"} & set(needs))


def _reduced(parent: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """A parent with the constants that make the two the same."""

    def typed(values: Mapping[str, Any]) -> str:
        return "".join(f" {typed_flag(k, v)}" for k, v in values.items())

    return f"{parent}{typed(theirs)}, with{typed(mine) or ' its defaults'}"


def typed_flag(name: str, value: Any) -> str:
    """A constant as it is typed.

    Example:
        >>> typed_flag("length_mean", False), typed_flag("beta", 0.0)
        ('--no-length-mean', '--beta 0.0')
    """
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {shown(value)}"


def _constants(found: Mapping[str, Flag]) -> dict[str, dict[str, Any]]:
    return {
        f.name.removeprefix("world."): {
            "type": said(f.type), "default": f.default, "help": f.help,
        }
        for f in found.values()
    }  # fmt: skip


def _table(found: Mapping[str, Flag], prefix: str = "") -> str:
    """Flags, one a row, with type, default and meaning."""
    rows = [
        (
            f"--{prefix}{f.name.replace('_', '-')}" if prefix else f.shortest,
            metavar(f.type) or "switch",
            "required" if f.default is REQUIRED else shown(f.default) or '""',
            f.help,
        )
        for f in found.values()
    ]
    return screen.table(("flag", "type", "default", "meaning"), rows, indent=2) if rows else ""


def _show_world(name: str, source: bool, json_: bool) -> int:
    path = catalogue.find_world(name)
    text = path.read_text(encoding="utf-8")
    about = ast.get_docstring(ast.parse(text)) or ""
    found = settings.world_flags(name)
    if name == "hub":  # of the others, a recipe may have a constant of the same name
        found = settings.bare(found, {*settings.run(), *settings.loop()})
    if source:
        print(text, end="")
    elif json_:
        constants = {f"world.{k}": v for k, v in _constants(found).items()}
        row = {"name": name, "verb": "world", "title": about_world(path), "path": here(path)}
        print(
            json_text(
                {**row, "about": about, "constants": constants},
                default=lambda v: None if v is REQUIRED else str(v),
            )
        )
    else:
        model = "--model MODEL --prompts prompts.jsonl --rewards judge.py:score"
        how = model if name == "hub" else f"--world {name}"
        start = "study scaling_fit" if name == "study" else "run leave_one_out"
        parts = {
            "": f"{name}, a world\n\n{screen.wrapped(about)}",
            "Run it": f"  assay {start} {how} --out runs/{name}",
            "Arguments": _table(found),
            "Loop, where the recipe says nothing else": _loop_table(_loop(name, {})),
        }
        _print(parts, here(path))
        ending(("its source", f"assay show {name} --source"))
    return 0
