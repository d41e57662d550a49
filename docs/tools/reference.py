"""Write the pages of docs/reference: the command line, every recipe, the Python names.

    python docs/tools/reference.py [FOLDER]

The command line's pages come from what `--help` prints, the Python pages from the lists of public
names. mkdocstrings fills the latter in from docstrings when the site is built.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import assay
from assay.api import values
from assay.cli import GROUPS, VERBS
from assay.cli.environment import VARIABLES
from assay.data.escape import prose
from assay.evidence import manual
from assay.registry import catalogue
from assay.registry.docstrings import first_sentence
from assay.registry.parameters import REQUIRED

HERE = Path(__file__).resolve().parents[1] / "reference"
NOTE = "<!-- Written by `make docs`. Edit docs/tools/reference.py or the docstrings. -->\n\n"
EXAMPLE = {"run": ["grpo", "--world", "hub"], "sweep": ["grpo", "--world", "hub"]}
ERRORS = ("InputError", "Missing", "Collapsed", "NotFinite", "Waiting", "NotWritten")
CORE = {
    "What a recipe is given": ("Task", "Prompts", "Samples", "Pairs", "Loop", "Rng", "Carry"),
    "What it yields": ("Step", "Ask", "Paper", "Claim"),
    "What a policy can do": (
        "Policy",
        "require",
        "HasValueHead",
        "Decodes",
        "ComparesTokens",
        "EncodesText",
    ),
}


def main(folder: Path = HERE) -> None:
    """Write every page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """File name → Markdown."""
    found = {
        "cli.md": command_line(),
        "recipes.md": recipes(),
        "api.md": python(),
        "recipe-vocabulary.md": vocabulary(),
    }
    return {name: NOTE + text.rstrip("\n") + "\n" for name, text in found.items()}


def command_line() -> str:
    """Every verb with its words and flags."""
    out = [
        "# Command line",
        "What `assay COMMAND --help` prints, on one page. Every command takes `--help`, `--quiet` "
        "and `--verbose`. Exit codes: 0 done, 1 ran and failed, 2 wrong input, 3 waits for labels, "
        "4 training has died, 130 stopped. The flags that a recipe adds are on the page "
        "[Recipes, fits, studies](recipes.md).",
    ]
    for group in GROUPS:
        for verb in VERBS.values():
            if verb.group == group:
                out += _verb(verb)
    out += ["## Worlds", "A world's arguments are flags of `assay run`, `sweep` and `study`."]
    known = {n for n in VERBS["run"].grammar(["grpo", "--world", "hub"]).flags if "." not in n}
    for world in catalogue.worlds():
        flags = VERBS["run"].grammar(["leave_one_out", "--world", world]).flags
        theirs = [
            f
            for n, f in flags.items()
            if n not in known and f.group not in ("Recipe", "Watch") and not n.startswith("watch.")
        ]
        out += [f"### World {world}", _table(theirs)]
    out += [
        "## Environment variables",
        "`assay doctor` shows their values; keys and tokens are never shown.",
        _rows(("variable", "what it does"), [(f"`{v.name}`", prose(v.about)) for v in VARIABLES]),
    ]
    return "\n\n".join(out)


def _verb(verb: Any) -> list[str]:
    grammar = verb.grammar(EXAMPLE.get(verb.name, []))
    flags = dict(grammar.flags)
    words = [f"{w.name.upper()}{'…' if w.many else ''}" for w in grammar.words]
    out = [
        f"## assay {verb.name}",
        f"```text\nassay {' '.join([verb.name, *words])} [OPTIONS]\n```",
        prose(grammar.summary),
        *map(prose, grammar.about.split("\n\n") if grammar.about else ()),
    ]
    if grammar.words:
        out.append(
            _rows(
                ("argument", "what it is"), [(f"`{w.name.upper()}`", w.help) for w in grammar.words]
            )
        )
    if verb.name in ("sweep", "study"):
        run = VERBS["run"].grammar(EXAMPLE["run"]).flags
        flags = {k: f for k, f in flags.items() if k not in run or k in ("out", "resume", "from")}
        out.append("It takes the flags of [assay run](#assay-run) too.")
    hidden = ("Recipe", "Hidden")
    kept = [f for n, f in flags.items() if f.group not in hidden and not n.startswith("world.")]
    kept = [f for f in kept if f.name != "json"]
    groups: dict[str, list[Any]] = {}
    for flag in kept:
        groups.setdefault(flag.group, []).append(flag)
    for name, some in groups.items():
        out += [*([f"**{name}**"] if len(groups) > 1 else []), _table(some)]
    if grammar.examples:
        out.append("```sh\n" + "\n".join(grammar.examples) + "\n```")
    return out


def recipes() -> str:
    """Every paper's file with the flags that it adds."""
    out = [
        "# Recipes, fits and studies",
        "`assay list` names them and `assay show NAME` tells of one. Each has a page with its "
        "formula and its claim; here are the flags that it adds to "
        "[the command line](cli.md#assay-run). The same names are keyword arguments in Python.",
    ]
    title = {"recipe": "Recipes", "fit": "Fits", "study": "Studies"}
    how = {"recipe": "assay run {}", "fit": "assay run RECIPE --fit {}", "study": "assay study {}"}
    for verb in title:
        out.append(f"## {title[verb]}")
        for entry in sorted(catalogue.entries(), key=lambda e: e.name):
            if entry.verb != verb or entry.fault:
                continue
            out += [
                f"### {entry.name}",
                f"{prose(first_sentence(entry.about))} "
                f"`{how[verb].format(entry.name)}`; [its page](../systems/{entry.name}.md).",
            ]
            prefix = "fit." if verb == "fit" else ""
            rows = [
                (f"`--{prefix}{name}`", f"`{default}`", prose(said))
                for name, default, said in manual.parts(entry.path)["constants"]
            ]
            out.append(
                _rows(("flag", "default", "what it does"), rows)
                if rows
                else "It has no flags of its own."
            )
    return "\n\n".join(out)


def python() -> str:
    """The names of `import assay`, of its errors, and of `assay.interop.trl`."""
    names = [n for n in getattr(assay, "__all__", ()) if not n.startswith("_")]
    out = [
        "# Python",
        "What `import assay` gives. The names load when you first use them, so that the import "
        "itself is quick.",
    ]
    out += _documented("assay", names) if names else []
    out += [
        "## assay.errors",
        "What ends a call, each with a sentence that says what to do: "
        "`from assay.errors import Collapsed`.",
        *_documented("assay.errors", ERRORS),
    ]
    out += [
        "## assay.interop.trl",
        "What goes inside TRL; see [Work inside TRL](../how-to/inside-trl.md).",
    ]
    out += _documented("assay.interop.trl", importlib.import_module("assay.interop.trl").__all__)
    return "\n\n".join(out)


def vocabulary() -> str:
    """What a recipe is written with."""
    loops = importlib.import_module("assay.loops").__all__
    out = [
        "# For recipe authors",
        "The vocabulary of a recipe; [Write a recipe](../how-to/write-a-recipe.md) uses it. Axes: "
        "B prompts, N completions a prompt, T decisions (tokens) a completion. Log-probabilities "
        "and KL are in nats.",
    ]
    for title, names in CORE.items():
        out += [f"## {title}", *_documented("assay.core", names)]
    out += ["## Loops", *_documented("assay.loops", loops)]
    out += ["## The update", *_documented("assay.engine.descend", ["descend"])]
    out += [
        "## Formulas",
        "Pure functions of tensors, one equation each. They return unreduced values.",
    ]
    folder = Path(assay.__file__).parent / "formulas"
    for path in sorted(folder.glob("*.py")):
        if not path.stem.startswith("_"):
            out.append(
                f"### assay.formulas.{path.stem}\n\n::: assay.formulas.{path.stem}\n"
                "    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"
                "      heading_level: 4\n      show_if_no_docstring: false"
            )
    return "\n\n".join(out)


def _documented(module: str, names: Iterable[str]) -> list[str]:
    """A table of names with their first lines, and each one's documentation."""
    found = importlib.import_module(module)
    rows, blocks = [], []
    for name in names:
        thing = getattr(found, name)
        summary = (thing.__doc__ or "").strip().split("\n\n")[0]
        rows.append((f"`{name}`", prose(" ".join(summary.split()).replace("**", ""))))
        home = (
            thing
            if isinstance(thing, types.ModuleType)
            else importlib.import_module(thing.__module__)
        )
        where = home.__name__ if home is thing else f"{home.__name__}.{thing.__qualname__}"
        blocks.append(f"::: {where}")
    return [_rows(("name", "what it does"), rows), *blocks]


def _table(flags: Iterable[Any]) -> str:
    return _rows(
        ("flag", "type", "default", "what it does"),
        [
            (_typed(f), prose(values.metavar(f.type)) or "switch", _default(f), prose(f.help))
            for f in flags
        ],
    )


def _typed(flag: Any) -> str:
    return " ".join(f"`{n}`" for n in dict.fromkeys([flag.shortest, flag.typed, *flag.also]))


def _default(flag: Any) -> str:
    if flag.default is REQUIRED:
        return "required"
    said = "" if flag.default is None else values.shown(flag.default)
    return f"`{said}`" if said else ""


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    cell = lambda text: re.sub(r"(?<!\\)\|", r"\\|", str(text)).replace("\n", " ")
    return "\n".join([*lines, *(f"| {' | '.join(map(cell, row))} |" for row in rows)])


if __name__ == "__main__":
    main(*(Path(a) for a in sys.argv[1:2]))
