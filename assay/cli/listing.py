"""list, cite: papers and worlds, read from their text without importing torch."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from assay.cli import screen
from assay.cli.endings import ending
from assay.errors import InputError
from assay.registry import catalogue, docstrings
from assay.registry.entry import VERBS
from assay.safe_text import json_text

GROUPS = {
    "rewards": "rewards",
    "preference": "a preference model",
    "pairs": "preference pairs",
    "demos": "demonstrations",
}


def here(path: Path) -> str:
    """A path as seen from the current folder, where that is shorter."""
    near = os.path.relpath(path)
    return near if not near.startswith("..") else str(path)


def started_by(entry: catalogue.Entry) -> str:
    """The command that starts a paper."""
    return f"assay {catalogue.START[entry.verb].format(entry.name)}"


def list_(*, json_: bool = False) -> int:
    """List the recipes, fits, studies and worlds there are.

    Recipes are grouped by what they need: rewards, preference pairs or demonstrations.

    Example:
        assay list
        assay list --json
    """
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
                "needs": list(e.needs),
            }
            for e in good
        ]
        rows += [
            {
                "name": n,
                "verb": "world",
                "title": about_world(p),
                "path": here(p),
                "reduces": {},
                "needs": [],
            }
            for n, p in worlds
        ]
        print(json_text(rows))
        return 0
    print("\n\n".join(_part(k, rows) for k, rows in _parts(good, worlds).items() if rows))
    ending(("more on one", "assay show NAME"), ("its paper", "assay cite NAME"))
    return 0


def _parts(
    entries: Sequence[catalogue.Entry], worlds: Sequence[tuple[str, Path]]
) -> dict[str, list[tuple[str, str]]]:
    """The rows under each heading."""
    parts: dict[str, list[tuple[str, str]]] = {
        **{f"Recipes that need {of}: assay run NAME": [] for of in GROUPS.values()},
        "Fits of reward models: assay run RECIPE --fit NAME": [],
        "Studies: assay study NAME": [],
        "Worlds: --world NAME": [(name, about_world(p)) for name, p in worlds],
    }
    headings = list(parts)
    for e in entries:
        place = list(GROUPS).index(group(e)) if e.verb == "recipe" else 3 + VERBS.index(e.verb)
        parts[headings[place]].append((e.name, about(e)))
    return parts


def _part(title: str, rows: Sequence[tuple[str, str]]) -> str:
    return f"{screen.heading(screen.wrapped(title))}\n{screen.table(('', ''), rows)}"


def group(entry: catalogue.Entry) -> str:
    """What a recipe needs first of all: "rewards", "preference", "pairs" or "demos"."""
    if "preference" in entry.needs:
        return "preference"
    if "rewards" in entry.needs and "pairs" not in entry.needs:
        return "rewards"
    return "demos" if "demos" in entry.needs else "pairs" if "pairs" in entry.needs else "rewards"


def about(entry: catalogue.Entry) -> str:
    """What a paper's file does, in one sentence."""
    return docstrings.first_sentence(docstrings.parse(entry.about).summary)


def about_world(path: Path) -> str:
    """The first sentence of a world's module docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return docstrings.first_sentence(docstrings.parse(text).summary)


def cite_(*papers: str, json_: bool = False) -> int:
    """Print papers as BibTeX.

    Args:
        papers: Names that `assay list` has, or paths of Python files.

    Example:
        assay cite grpo
        assay cite dpo worst_case --json
    """
    if not papers:
        raise InputError("assay cite needs the name of a paper; assay list names them")
    chosen = [catalogue.find(p) for p in papers]
    if json_:
        print(
            json_text(
                [{"name": e.name, **e.paper, "bibtex": catalogue.bibtex(e)} for e in chosen],
            )
        )
    else:
        print("\n\n".join(catalogue.bibtex(e) for e in chosen))
    return 0
