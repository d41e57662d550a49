"""The manual's pages, one a paper's file, written from the file itself and from the results of its
claim. Runs nothing.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from assay.data.escape import prose
from assay.registry.catalogue import Entry

START = {
    "recipe": "assay run {name} --world {world} --out runs/{name}",
    "fit": "assay run leave_one_out --world {world} --fit {name} --out runs/{name}",
    "study": "assay study {name} --world {world} --out runs/{name}",
}
MOST = 40  # lines of a study that a page shows
VERBS = {"recipe": "yields policies", "fit": "fits judges", "study": "yields findings"}


def pages(entries: Iterable[Entry], found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """File name → Markdown: one page a paper's file and `README.md`, the list of them. `found`:
    `claims.rows`.
    """
    entries = list(entries)
    verdicts: dict[str, list[Mapping[str, Any]]] = {e.name: [] for e in entries}
    for row in found:
        verdicts[row["name"]].append(row)
    out = {f"{e.name}.md": page(e, verdicts[e.name]) for e in entries}
    return {"README.md": index(entries, verdicts), **out}


def page(entry: Entry, verdicts: list[Mapping[str, Any]]) -> str:
    """One paper: what it is, how it is run, its constants, what it reduces to, its claim and what
    was found.
    """
    paper, source = entry.paper, parts(entry.path)
    world = source["worlds"][0] if source["worlds"] else "table"
    needs = "".join(f" --world.{k} {v}" for k, v in source["on"].get(world, {}).items())
    number = paper["url"].removeprefix("arXiv:")
    link = (
        f"[{paper['url']}](https://arxiv.org/abs/{number})"
        if paper["url"].startswith("arXiv:")
        else f"<{paper['url']}>"
    )
    command = START[entry.verb].format(name=entry.name, world=f"{world}{needs}")
    lines = [
        f"# {entry.name}",
        "",
        f"*{prose(paper['title'])}*, {paper['authors']}, {paper['year']}, {link}",
        "",
        f"{VERBS[entry.verb].capitalize()}: `{command}`",
        "",
        *body(entry.about),
        "",
    ]
    if source["constants"]:
        lines += ["## Constants", "", "| flag | default |", "|---|---|"]
        lines += [
            f"| `--{'fit.' if entry.verb == 'fit' else ''}{name}` | `{default}` |"
            for name, default in source["constants"]
        ]
        lines += ["", prose(source["about"]), ""]
    if entry.reduces:
        said = [
            f"`{parent}` at {settings(mine)}"
            + (f" (and it at {settings(theirs)})" if theirs else "")
            for parent, (mine, theirs) in entry.reduces.items()
        ]
        lines += [
            "## What it reduces to",
            "",
            f"It is {', and '.join(said)}; a test compares them step by step.",
            "",
        ]
    if entry.statement:
        lines += ["## The claim", "", prose(entry.statement), ""]
        for v in verdicts:
            lines += [verdict(v), "", *arms(v), *found(v)]
        lines += ["How the number is made:", "", "```python", source["claim"], "```", ""]
    return "\n".join(lines)


def index(entries: Iterable[Entry], verdicts: Mapping[str, list[Mapping[str, Any]]]) -> str:
    """The list of pages, by title, with what was found."""
    lines = [
        "# The papers",
        "",
        "One page a file of `assay/recipes/`, written by `make docs` from the files and from "
        "`claims/*.json`.",
        "",
        "| title | file | verb | found |",
        "|---|---|---|---|",
    ]
    for e in sorted(entries, key=lambda e: (e.title.lower(), e.name)):
        said = (
            "; ".join(
                f"{v['verdict']} ({v['world']})" if v["world"] else v["verdict"]
                for v in verdicts[e.name]
            )
            or "no claim"
        )
        lines.append(f"| {prose(e.title)} | [{e.name}]({e.name}.md) | {e.verb} | {said} |")
    return "\n".join(lines) + "\n"


def verdict(row: Mapping[str, Any]) -> str:
    """One result in a line."""
    if not row["world"]:
        return "**not run**"
    effect = "" if row["effect"] is None else f", effect {row['effect']:.3f}"
    effect += "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    why = f"; {row['why']}" if row["why"] else ""
    return f"**{row['verdict']}** on {row['world']}, {row['seeds']} seeds{effect}{why}. Made by `{row['command']}`"


def arms(row: Mapping[str, Any]) -> list[str]:
    """What each arm came to, mean over seeds: a table, or nothing where the result holds no runs."""
    measured = {arm: seeds for arm, seeds in row.get("measured", {}).items() if seeds}
    if not measured:
        return []
    lines = [
        "| arm | run as | peak gold | last gold | fall | last KL |",
        "|---|---|---|---|---|---|",
    ]
    for arm, seeds in measured.items():
        recipe, arguments = row["arms"][arm]
        means = [mean([s[k] for s in seeds]) for k in ("peak", "final", "drop", "kl")]
        lines.append(
            f"| {prose(arm)} | `{recipe}` {settings(arguments) if arguments else ''} | "
            + " | ".join(means)
            + " |"
        )
    return [*lines, ""]


def mean(values: list[float | None]) -> str:
    """The mean of what was measured, to three places; a dash where nothing was."""
    known = [v for v in values if v is not None]
    return f"{sum(known) / len(known):.3f}" if known else "–"


def found(row: Mapping[str, Any]) -> list[str]:
    """What a study said on the first seed: a table where its lines are alike, else the lines."""
    out = []
    for arm, lines in row.get("lines", {}).items():
        cut = f", the first {MOST} lines" if len(lines) > MOST else ""
        out += [f"What `{row['arms'][arm][0]}` said on seed {row['first']}{cut}:", ""]
        lines = lines[:MOST]
        names = list(lines[0]) if lines else []
        if all(list(line) == names for line in lines) and len(names) <= 11:
            out += ["| " + " | ".join(prose(n) for n in names) + " |", "|---" * len(names) + "|"]
            out += ["| " + " | ".join(cell(line[n]) for n in names) + " |" for line in lines] + [""]
        else:
            out += [
                "```json",
                *[json.dumps(short(line), ensure_ascii=False) for line in lines],
                "```",
                "",
            ]
    return out


def short(value: Any) -> Any:
    """Numbers to four digits, wherever they stand."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        return [short(v) for v in value]
    return {k: short(v) for k, v in value.items()} if isinstance(value, dict) else value


def cell(value: Any) -> str:
    """A value in a table."""
    return prose(value) if isinstance(value, str) else json.dumps(short(value), ensure_ascii=False)


def settings(arguments: Mapping[str, Any]) -> str:
    """Constants as flags."""
    return (
        "`"
        + " ".join(
            f"--{k} {v if isinstance(v, str) else json.dumps(v)}" for k, v in arguments.items()
        )
        + "`"
        if arguments
        else "its defaults"
    )


def parts(path: Path) -> dict[str, Any]:
    """What a page needs and the catalogue does not keep: constants with their defaults, the
    docstring of the verb's function, the text of the claim, the worlds it is about. From the text
    alone.
    """
    text = path.read_text(encoding="utf-8")
    functions = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}
    verb = functions[next(v for v in ("recipe", "fit", "study") if v in functions)]
    given = zip(verb.args.kwonlyargs, verb.args.kw_defaults, strict=True)
    constants = [
        (a.arg, "required" if d is None else ast.unparse(d)) for a, d in given if a.arg != "loop"
    ]
    out: dict[str, Any] = {
        "constants": constants,
        "about": ast.get_docstring(verb) or "",
        "claim": "",
        "worlds": (),
        "on": {},
    }
    claim = functions.get("claim")
    if claim is not None:
        first = min(d.lineno for d in claim.decorator_list)
        out["claim"] = textwrap.dedent("\n".join(text.splitlines()[first - 1 : claim.end_lineno]))
        for call in claim.decorator_list:
            for word in call.keywords if isinstance(call, ast.Call) else ():
                if word.arg in ("worlds", "on"):
                    out[word.arg] = _literal(word.value, {} if word.arg == "on" else ("table",))
    return out


def _literal(node: ast.expr, otherwise: Any) -> Any:
    """A literal's value, or `otherwise` where the file computes it."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return otherwise


def body(about: str) -> list[str]:
    """A docstring as Markdown: paragraphs as prose, what is indented as it stands."""
    out: list[str] = []
    for block in re.split(r"\n\s*\n", about):
        lines = block.split("\n")
        plain = [line for line in lines if line[:4].strip() and line[:2] != "  "]
        if not plain:
            out += ["```text", *textwrap.dedent(block).split("\n"), "```", ""]
        elif len(plain) == len(lines):
            out += [prose(block), ""]
        else:  # a sentence with an indented list under it
            at = next(i for i, line in enumerate(lines) if line not in plain)
            rest = next((i for i in range(at, len(lines)) if lines[i] in plain), len(lines))
            table = textwrap.dedent("\n".join(lines[at:rest])).split("\n")
            out += [prose("\n".join(lines[:at])), "", "```text", *table, "```", ""]
            out += body("\n".join(lines[rest:])) if rest < len(lines) else []
    return out[:-1] if out and not out[-1] else out
