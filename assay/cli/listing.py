"""list, show, cite: papers and worlds. list and cite read text and import no torch."""

from __future__ import annotations

import ast
import inspect
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay.api import flags, settings
from assay.api.values import said, shown
from assay.cli import screen
from assay.errors import InputError
from assay.registry import catalogue, docstrings
from assay.registry.parameters import REQUIRED

START = {"recipe": "run {}", "fit": "run RECIPE --fit {}", "study": "study {}"}


def here(path: Path) -> str:
    """A path as seen from the current folder, where that is shorter."""
    near = os.path.relpath(path)
    return near if not near.startswith("..") else str(path)


def started_by(entry: catalogue.Entry) -> str:
    """The command that starts a paper."""
    return f"assay {START[entry.verb].format(entry.name)}"


def list_(*, json_: bool = False) -> int:
    """List the recipes, fits, studies and worlds there are."""
    found = catalogue.entries()
    for e in found:
        if e.fault:
            print(f"assay: left out, {e.fault}", file=sys.stderr)
    good = [e for e in found if not e.fault]
    worlds = [(name, catalogue.find_world(name)) for name in catalogue.worlds()]
    if json_:
        rows = [
            {
                "name": e.name,
                "verb": e.verb,
                "title": e.title,
                "path": here(e.path),
                "reduces": e.reduces,
            }
            for e in good
        ]
        rows += [
            {"name": n, "verb": "world", "title": about_world(p), "path": here(p), "reduces": {}}
            for n, p in worlds
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    order = {"recipe": 0, "fit": 1, "study": 2}
    papers = [
        (e.name, e.verb, f"{e.title} ({e.paper['authors']}, {e.paper['year']})")
        for e in sorted(good, key=lambda e: (order[e.verb], e.name))
    ]
    print(
        screen.table(
            ("name", "kind", "title"),
            [*papers, *((n, "world", about_world(p)) for n, p in worlds)],
        )
    )
    return 0


def about_world(path: Path) -> str:
    """The first sentence of a world's module docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return docstrings.first_sentence(docstrings.parse(text).summary)


def cite_(*papers: str, json_: bool = False) -> int:
    """Print papers as BibTeX.

    Args:
        papers: Names that `assay list` has, or paths of Python files.
    """
    if not papers:
        raise InputError("assay cite needs the name of a paper; assay list names them")
    chosen = [catalogue.find(p) for p in papers]
    if json_:
        print(
            json.dumps(
                [{"name": e.name, **e.paper, "bibtex": catalogue.bibtex(e)} for e in chosen],
                ensure_ascii=False,
            )
        )
    else:
        print("\n\n".join(catalogue.bibtex(e) for e in chosen))
    return 0


def show_(name: str, *, source: bool = False, json_: bool = False) -> int:
    """Show one paper or world: what it is, its constants with their defaults, its claim.

    Args:
        name: A name that `assay list` has, or the path of a Python file.
        source: Print the file's text and nothing else.
    """
    if name in catalogue.worlds():
        return _show_world(name, source, json_)
    entry = catalogue.find(name)
    if source:
        print(entry.path.read_text(encoding="utf-8"), end="")
        return 0
    function = getattr(catalogue.load(entry), entry.verb)
    loop = inspect.signature(function).parameters.get("loop")
    own = {} if loop is None or loop.default is loop.empty else asdict(loop.default)
    constants = {
        f.name: {"type": said(f.type), "default": f.default, "help": f.help}
        for f in flags.of(function).values()
    }
    docs = docstrings.parse(inspect.getdoc(function), list(constants))
    if json_:
        print(
            json.dumps(
                {
                    "name": entry.name,
                    "verb": entry.verb,
                    "title": entry.title,
                    "path": here(entry.path),
                    "reduces": entry.reduces,
                    "paper": entry.paper,
                    "about": entry.about,
                    "constants": constants,
                    "constants_about": inspect.getdoc(function) or "",
                    "loop": own,
                    "claim": entry.statement,
                },
                ensure_ascii=False,
                default=lambda v: None if v is REQUIRED else str(v),
            )
        )
        return 0
    paper = entry.paper
    print(
        f"{entry.name}: {entry.title} ({paper['authors']}, {paper['year']}, "
        f"{paper['url']})\n\n{entry.about}\n"
    )
    if docs.summary:
        print(f"{docs.summary}\n")
    print(started_by(entry) + _rows(constants, "fit." if entry.verb == "fit" else ""))
    if own:
        print(
            "\nthe loop, where the world says nothing else:"
            + _rows({k: {"default": v} for k, v in own.items()})
        )
    if entry.statement:
        print(f"\nclaim: {entry.statement}")
    print(f"\n{here(entry.path)} (assay show {entry.name} --source prints it)")
    return 0


def _show_world(name: str, source: bool, json_: bool) -> int:
    path = catalogue.find_world(name)
    text = path.read_text(encoding="utf-8")
    about = ast.get_docstring(ast.parse(text)) or ""
    constants = {
        f.name: {
            "type": said(f.type),
            "default": None if f.default is REQUIRED else f.default,
            "help": f.help,
        }
        for f in settings.world_flags(name).values()
    }
    if source:
        print(text, end="")
    elif json_:
        row = {"name": name, "verb": "world", "title": about_world(path), "path": here(path)}
        print(
            json.dumps(
                {**row, "about": about, "constants": constants}, ensure_ascii=False, default=str
            )
        )
    else:
        print(f"{name}: {about}\n\nassay run RECIPE --world {name}{_rows(constants)}")
        print(f"\n{here(path)} (assay show {name} --source prints it)")
    return 0


def _rows(constants: dict[str, dict[str, Any]], prefix: str = "") -> str:
    """Flags, one a line, with default and meaning."""
    lines = []
    for name, c in constants.items():
        default = "(required)" if c["default"] is REQUIRED else shown(c["default"])
        kind, text = c.get("type", ""), c.get("help", "")
        about = f"{kind}: {text}" if kind and text else kind or text
        lines.append(
            f"\n  --{prefix}{name.replace('_', '-')} {default}" + (f"  {about}" if about else "")
        )
    return "".join(lines)
