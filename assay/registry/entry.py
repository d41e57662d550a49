"""Read what a paper's file says of itself from its text, without running it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERBS = ("recipe", "fit", "study")
PARTS = ("rewards", "pairs", "demos", "labelled", "preference", "others", "reply")  # of a task
READS = {  # functions of loops that read parts of the task that they are given
    "proxy_score": ("rewards",),
    "member_scores": ("rewards",),
    "group_relative": ("rewards",),
    "imitated": ("pairs", "demos"),
    "reference_win_rate": ("preference",),
    "against_reference": ("preference",),
}


@dataclass(frozen=True)
class Entry:
    """What a paper's file says of itself, read from its text.

    Attributes:
        name: The file's name without its ending.
        path: The file.
        verb: The name of its function: recipe, fit or study.
        title: The paper's title, else the first line of the file's docstring.
        paper: The fields of its `Paper`: title, authors, year, url; {} for a method of your own.
        reduces: Its parents: `{"parent": ({mine}, {the parent's})}`.
        about: The module's docstring.
        statement: The statement of its claim; None where it makes none.
        effect: The docstring of its claim.
        worlds: Where its claim is run; () where that is said nowhere.
        needs: What a recipe takes of its task: rewards, pairs, demos and others.
        fault: Why the file could not be read; None where it could.
        function: The function itself, for a recipe that was passed in Python; None where the file
            has it.
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
    worlds: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    fault: str | None = None
    function: Callable[..., Any] | None = None


def read(path: Path) -> Entry:
    """Read one file's entry. What is wrong with the file becomes its `fault`; nothing is run."""
    try:
        module = ast.parse(path.read_text(encoding="utf-8"), str(path))
        return _entry(path, module)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as why:
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
        raise ValueError(f"it has {len(verbs)} functions named recipe, fit or study; give it one")
    paper = _paper(literals["paper"]) if "paper" in literals else {}
    about = ast.get_docstring(module) or ""
    reduces = ast.literal_eval(literals["reduces"]) if "reduces" in literals else {}
    if not isinstance(reduces, dict):
        raise ValueError('reduces is not a dict {"parent": ({mine}, {the parent\'s})}')
    claim = _claim(functions["claim"]) if "claim" in functions else None
    statement = None if claim is None else str(ast.literal_eval(claim.args[0]))
    effect = (ast.get_docstring(functions["claim"]) or "") if "claim" in functions else ""
    return Entry(
        path.stem,
        path,
        verbs[0],
        paper.get("title") or about.strip().partition("\n")[0] or path.stem,
        paper,
        reduces,
        about,
        statement,
        effect,
        () if claim is None else _worlds(claim),
        _needs(module),
    )


def _needs(module: ast.Module) -> tuple[str, ...]:
    """The parts of a task that a file's text names, in the order of PARTS."""
    found, left = set(), list[Any](module.body)
    while left:  # not ast.walk, which takes half the time of a listing
        node = left.pop()
        kind = type(node)
        if kind is ast.Attribute:
            if node.attr in PARTS and _names_task(node.value):
                found.add(node.attr)
            left.append(node.value)
        elif kind is ast.Name:
            found.update(READS.get(node.id, ()))
        elif kind is not ast.Constant:  # most nodes are these three, and have no further ones
            for name in node._fields:
                part = getattr(node, name, None)
                if type(part) is list:
                    left += [p for p in part if isinstance(p, ast.AST)]
                elif isinstance(part, ast.AST):
                    left.append(part)
    return tuple(p for p in PARTS if p in found)


def _names_task(node: ast.expr) -> bool:
    """Whether an expression is a name or an attribute that ends with task."""
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    return str(name).endswith("task")


def _paper(call: ast.expr) -> dict[str, Any]:
    if not isinstance(call, ast.Call):
        raise ValueError('its paper is not a line paper = Paper("title", "authors", year, "url")')
    keys = ("title", "authors", "year", "url")
    found = {k: ast.literal_eval(a) for k, a in zip(keys, call.args)}
    found |= {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    if set(found) != set(keys):
        raise ValueError(
            f"its Paper has {', '.join(found) or 'nothing'}, and needs {', '.join(keys)}"
        )
    return found


def _worlds(claim: ast.Call) -> tuple[str, ...]:
    said = next((k.value for k in claim.keywords if k.arg == "worlds"), None)
    return () if said is None else tuple(ast.literal_eval(said))


def _claim(claim: ast.FunctionDef) -> ast.Call:
    for call in claim.decorator_list:
        if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "Claim":
            return call
    raise ValueError('its function claim has no decorator @Claim("the statement", arms=…)')
