"""The manual's pages, one a paper's file, written from it and from its claim's results."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from assay.evidence.render import written
from assay.registry import docstrings
from assay.registry.catalogue import Entry

START = {
    "recipe": "assay run {name} --world {world} --out runs/{name}",
    "fit": "assay run leave_one_out --world {world} --fit {name} --out runs/{name}",
    "study": "assay study {name} --world {world} --out runs/{name}",
}
MOST = 40  # lines of a study that a page shows
WIDEST = 11  # columns of a table
MEANS = ("peak", "final", "drop", "kl")
VERBS = {"recipe": "yields policies", "fit": "fits reward models", "study": "yields findings"}


def pages(entries: Iterable[Entry], found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """One page a paper's file, and `README.md`, the list of them. Runs nothing.

    Args:
        entries: The papers' files.
        found: Results, from `claims.rows`.

    Returns:
        File name → Markdown.
    """
    entries = list(entries)
    verdicts: dict[str, list[Mapping[str, Any]]] = {e.name: [] for e in entries}
    for row in found:
        verdicts[row["name"]].append(row)
    out = {f"{e.name}.md": page(e, verdicts[e.name]) for e in entries}
    by_title = sorted(entries, key=lambda e: (e.title.lower(), e.name))
    index = written("papers.md", entries=[(e, verdicts[e.name]) for e in by_title])
    return {"README.md": index, **out}


def page(entry: Entry, verdicts: Iterable[Mapping[str, Any]]) -> str:
    """One paper: what it is, how it is run, its constants, what it reduces to, its claim.

    Args:
        entry: The paper's file.
        verdicts: The results of its claim.

    Returns:
        Markdown.
    """
    source, url = parts(entry.path), entry.paper["url"]
    world = (source["worlds"] or ("table",))[0]
    needs = "".join(f" --world.{k} {v}" for k, v in source["on"].get(world, {}).items())
    needs += "".join(f" --{k.replace('_', '-')} {v}" for k, v in source["fit"].items())
    arxiv = url.startswith("arXiv:")
    return written(
        "paper.md",
        entry=entry,
        source=source,
        link=f"[{url}](https://arxiv.org/abs/{url.removeprefix('arXiv:')})"
        if arxiv
        else f"<{url}>",
        verb=VERBS[entry.verb].capitalize(),
        command=START[entry.verb].format(name=entry.name, world=f"{world}{needs}"),
        verdicts=[{**row, "arms_measured": arms(row), "studies": studies(row)} for row in verdicts],
    )


def arms(row: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any], list[str]]]:
    """(arm, recipe, its constants, means over seeds) of every arm that was measured."""
    measured = {arm: seeds for arm, seeds in row.get("measured", {}).items() if seeds}
    return [
        (arm, *row["arms"][arm], [mean([s[k] for s in seeds]) for k in MEANS])
        for arm, seeds in measured.items()
    ]


def studies(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What studies said on the first seed: with columns where the lines are alike."""
    out = []
    for arm, lines in row.get("lines", {}).items():
        lines = [line for line in lines if line.get("kind") != "spent"]
        shown = lines[:MOST]
        names = list(shown[0]) if shown else []
        alike = all(list(line) == names for line in shown) and len(names) <= WIDEST
        out.append(
            {
                "name": row["arms"][arm][0],
                "cut": len(lines) > MOST,
                "columns": names if alike else [],
                "lines": shown,
            }
        )
    return out


def mean(values: list[float | None]) -> str:
    """The mean of what was measured, to three places; a dash where nothing was."""
    known = [v for v in values if v is not None]
    return f"{sum(known) / len(known):.3f}" if known else "–"


def parts(path: Path) -> dict[str, Any]:
    """What a page needs and the catalogue does not keep: constants with their defaults, the
    docstring of the verb's function, the text of the claim, the worlds it is about. From the text
    alone.
    """
    text = path.read_text(encoding="utf-8")
    functions = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}
    verb = functions[next(v for v in ("recipe", "fit", "study") if v in functions)]
    names = [a.arg for a in verb.args.kwonlyargs]
    told = docstrings.parse(ast.get_docstring(verb), names)
    given = zip(verb.args.kwonlyargs, verb.args.kw_defaults, strict=True)
    constants = [
        (
            a.arg.replace("_", "-"),
            "required" if d is None else ast.unparse(d),
            told.arguments.get(a.arg, ""),
        )
        for a, d in given
        if a.arg != "loop"
    ]
    out: dict[str, Any] = {
        "constants": constants,
        "notes": told.body,
        "claim": "",
        "worlds": (),
        "on": {},
        "fit": {},
    }
    claim = functions.get("claim")
    if claim is not None:
        first = min(d.lineno for d in claim.decorator_list)
        out["claim"] = textwrap.dedent("\n".join(text.splitlines()[first - 1 : claim.end_lineno]))
        for call in claim.decorator_list:
            for word in call.keywords if isinstance(call, ast.Call) else ():
                if word.arg == "arms":
                    out["fit"] = _fitted(word.value, path.stem)
                if word.arg in ("worlds", "on"):
                    out[word.arg] = _literal(word.value, {} if word.arg == "on" else ("table",))
    return out


def _fitted(arms: ast.expr, name: str) -> dict[str, Any]:
    """The constants with which a claim's own arm fits, as far as they stand there themselves: some
    fits mean nothing by their defaults in the world, such as a penalty on length where all
    completions are of one length.
    """
    own = _items(arms).get("mine")
    given = _items(own.elts[1]) if isinstance(own, ast.Tuple) else {}
    constants = {k: _literal(v, None) for k, v in given.items()}
    mine = constants.get("fit") == name
    return {k: v for k, v in constants.items() if mine and k.startswith("fit.") and v is not None}


def _items(node: ast.expr) -> dict[Any, ast.expr]:
    """What a dictionary holds by literal keys."""
    if not isinstance(node, ast.Dict):
        return {}
    return {k.value: v for k, v in zip(node.keys, node.values) if isinstance(k, ast.Constant)}


def _literal(node: ast.expr, otherwise: Any) -> Any:
    """A literal's value, or `otherwise` where the file computes it."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return otherwise
