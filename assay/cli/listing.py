"""list, show, cite: what the folder of papers holds. list and cite read text and import no torch."""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

from assay.cli import flags
from assay.cli.flags import Flag
from assay.errors import InputError
from assay.registry import catalogue

JSON = Flag("json", bool, False, "print JSON")


def here(path: Path) -> str:
    """A path as seen from the current folder, where that is shorter."""
    near = os.path.relpath(path)
    return near if not near.startswith("..") else str(path)


def list_(argv: list[str]) -> int:
    """assay list [--json]"""
    known = {"json": JSON}
    words, given = flags.split(argv, known)
    options = flags.parse(given, known, "assay list")
    if words:
        raise InputError(
            f"assay list takes no '{words[0]}'; assay show {words[0]} tells of one paper"
        )
    found = catalogue.entries()
    for e in found:
        if e.fault:
            print(f"assay: left out, {e.fault}", file=sys.stderr)
    good = [e for e in found if not e.fault]
    if options.get("json"):
        print(
            json.dumps(
                [
                    {
                        "name": e.name,
                        "verb": e.verb,
                        "title": e.title,
                        "path": here(e.path),
                        "reduces": e.reduces,
                    }
                    for e in good
                ],
                ensure_ascii=False,
            )
        )
        return 0
    wide = max((len(e.name) for e in good), default=0)
    for e in good:
        print(
            f"{e.name:<{wide}}  {verb_of(e):<5}  {e.title} ({e.paper['authors']}, "
            f"{e.paper['year']})"
        )
    return 0


def verb_of(entry: catalogue.Entry) -> str:
    """How a paper is started: `assay run`, `assay fit` or `assay study`."""
    return {"recipe": "run"}.get(entry.verb, entry.verb)


def cite_(argv: list[str]) -> int:
    """assay cite NAME… [--json]"""
    known = {"json": JSON}
    words, given = flags.split(argv, known)
    options = flags.parse(given, known, "assay cite")
    if not words:
        raise InputError("assay cite needs the name of a paper, or several; assay list has them")
    chosen = [catalogue.find(w) for w in words]
    if options.get("json"):
        print(
            json.dumps(
                [{"name": e.name, **e.paper, "bibtex": catalogue.bibtex(e)} for e in chosen],
                ensure_ascii=False,
            )
        )
    else:
        print("\n\n".join(catalogue.bibtex(e) for e in chosen))
    return 0


def show_(argv: list[str]) -> int:
    """assay show NAME [--source] [--json]: what the paper is, its constants with their defaults,
    and its text.
    """
    known = {
        "json": JSON,
        "source": Flag("source", bool, False, "print the file's text and nothing else"),
    }
    words, given = flags.split(argv, known)
    options = flags.parse(given, known, "assay show")
    if len(words) != 1:
        raise InputError("assay show needs the name of one paper; assay list has them")
    entry = catalogue.find(words[0])
    text = entry.path.read_text(encoding="utf-8")
    if options.get("source"):
        print(text, end="")
        return 0
    function = getattr(catalogue.load(entry), entry.verb)
    loop = inspect.signature(function).parameters.get("loop")
    own = {} if loop is None or loop.default is loop.empty else vars(loop.default)
    constants = {
        f.name: {"type": flags.said(f.type), "default": f.default}
        for f in flags.of(function).values()
    }
    about = inspect.getdoc(function) or ""
    if options.get("json"):
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
                    "constants_about": about,
                    "loop": own,
                    "claim": entry.statement,
                },
                ensure_ascii=False,
                default=str,
            )
        )
        return 0
    paper = entry.paper
    print(
        f"{entry.name}: {entry.title} ({paper['authors']}, {paper['year']}, "
        f"{paper['url']})\n\n{entry.about}\n"
    )
    print(
        f"assay {verb_of(entry)} {entry.name}"
        + rows(constants)
        + ("" if not about else f"\n\n{about}")
    )
    if own:
        print(
            "\nthe loop, where the world says nothing else:"
            + rows({k: {"type": "", "default": v} for k, v in own.items()})
        )
    if entry.statement:
        print(f"\nclaim: {entry.statement}")
    print(f"\n{here(entry.path)} (assay show {entry.name} --source prints it)")
    return 0


def rows(constants: dict[str, dict[str, Any]]) -> str:
    """Flags, one a line, with default and type."""
    lines = []
    for name, c in constants.items():
        default = (
            "(must be given)"
            if c["default"] is flags.REQUIRED
            else json.dumps(c["default"], default=str)
        )
        lines.append(f"\n  --{name} {default}" + (f"  {c['type']}" if c["type"] else ""))
    return "".join(lines)
