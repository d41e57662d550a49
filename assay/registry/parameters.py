"""Parameters of functions and fields of dataclasses as data, read from their source text where that
is enough.

Reading the text needs no import of torch, so help and refusals of a mistyped flag take a fraction
of a second.
"""

from __future__ import annotations

import ast
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Optional, Union

from assay.errors import InputError
from assay.registry import docstrings

_HOME = Path(__file__).resolve().parents[1]

ROOT = Path(__file__).resolve().parents[2]  # where the package lies
REQUIRED: Any = inspect.Parameter.empty
_EMPTY: dict[str, Callable[[], Any]] = {
    f"field(default_factory={kind.__name__})": kind for kind in (dict, list, tuple)
}
_NAMED: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "Path": Path,
    "Any": Any,
    "None": None,
    "list": list,
    "tuple": tuple,
    "dict": dict,
    "Sequence": Sequence,
    "Iterable": Iterable,
    "Mapping": Mapping,
    "Literal": Literal,
    "Optional": Optional,
    "Union": Union,
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function, or one field of a dataclass.

    Attributes:
        name: As it stands in the signature.
        type: Its annotation, resolved.
        default: Its default value, `REQUIRED` where it has none.
        help: What the docstring says of it, on one line.
        kind: The name of its `inspect` kind, e.g. "KEYWORD_ONLY".
    """

    name: str
    type: Any
    default: Any = REQUIRED
    help: str = ""
    kind: str = "KEYWORD_ONLY"


class _Unreadable(Exception):
    """The text alone does not say it."""


def parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters of a function, or the fields of a dataclass, by name.

    Args:
        function: A function or a dataclass, already imported.

    Returns:
        Every parameter in the order of the signature.

    Raises:
        InputError: An annotation names something that cannot be found.
    """
    try:
        hints = typing.get_type_hints(function)
    except NameError as why:
        where = f"{function.__module__}.{function.__qualname__}"
        raise InputError(f"the annotations of {where} cannot be read: {why}") from why
    signature = inspect.signature(function).parameters
    described = docstrings.parse(inspect.getdoc(function), list(signature)).arguments
    fields = is_dataclass(function)
    return {
        p.name: Parameter(
            name=p.name,
            type=hints.get(p.name, Any if p.default in (None, REQUIRED) else type(p.default)),
            default=p.default,
            help=described.get(p.name, ""),
            kind="KEYWORD_ONLY" if fields else p.kind.name,
        )
        for p in signature.values()
    }


def from_text(
    path: Path, name: str, *, positional: bool = False, without: Collection[str] = ("loop",)
) -> dict[str, Parameter] | None:
    """The keyword-only parameters, read from a file's text without running it.

    Args:
        path: A Python file.
        name: A function or a dataclass at its top level.
        positional: Also those that may be given by position.
        without: Parameters to leave out, whose types need not be readable then.

    Returns:
        The parameters; None where the text alone does not say them (a computed default, a type of
        the file's own).
    """
    module = _tree(path, path.stat().st_mtime_ns)
    constants = _constants(module)
    for n in module.body:  # TIMEOUT of another module of ours, say
        if isinstance(n, ast.ImportFrom) and n.module and n.module.startswith("assay."):
            source = _HOME.joinpath(*n.module.split(".")[1:]).with_suffix(".py")
            taken = {a.asname or a.name: a.name for a in n.names if a.name.isupper()}
            if taken and source.is_file():
                theirs = _constants(_tree(source, source.stat().st_mtime_ns))
                constants |= {k: theirs[v] for k, v in taken.items() if v in theirs}
    for node in module.body:
        try:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                if not node.decorator_list:
                    return _of_function(node, constants, positional, without)
                return _decorated(node, module, path, constants, positional, without)
            if isinstance(node, ast.ClassDef) and node.name == name:
                return _of_class(node, constants)
        except _Unreadable:
            return None
    return None


def _constants(module: ast.Module) -> dict[str, ast.expr]:
    """What a module assigns to names at its top level."""
    return {
        t.id: n.value
        for n in module.body
        if isinstance(n, ast.Assign)
        for t in n.targets
        if isinstance(t, ast.Name)
    }


def _decorated(
    node: ast.FunctionDef,
    module: ast.Module,
    path: Path,
    constants: Mapping[str, ast.expr],
    positional: bool,
    without: Collection[str],
) -> dict[str, Parameter] | None:
    """The parameters of a function that takes a configuration's fields as keywords.

    `@from_config(X)` takes the fields of X in place of the function's own `config`. None for
    another decorator.
    """
    match node.decorator_list:
        case [ast.Call(func=ast.Name(id="from_config"), args=[ast.Name(id=name)])]:
            own = _of_function(node, constants, positional, [*without, "config"])
        case _:
            return None
    fields = from_text(_defined(name, module, path), name)
    if fields is None:
        return None
    return {**own, **{k: v for k, v in fields.items() if k not in without}}


def _defined(name: str, module: ast.Module, path: Path) -> Path:
    """The file of this package that defines a name which a file's text uses."""
    for node in module.body:
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and name in {a.name for a in node.names}
        ):
            return ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
    return path


@cache
def _tree(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _of_function(
    node: ast.FunctionDef,
    constants: Mapping[str, ast.expr],
    positional: bool,
    without: Collection[str],
) -> dict[str, Parameter]:
    given = node.args
    plain = [*given.posonlyargs, *given.args] if positional else []
    needed = len(plain) - len(given.defaults)
    rows = [
        (a, "POSITIONAL_OR_KEYWORD", None if i < needed else given.defaults[i - needed])
        for i, a in enumerate(plain)
    ]
    rows += [
        (a, "KEYWORD_ONLY", d) for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    described = docstrings.parse(ast.get_docstring(node), names).arguments
    return {
        a.arg: _one(a.arg, a.annotation, default, described.get(a.arg, ""), kind, constants)
        for a, kind, default in rows
        if a.arg not in without
    }


def _of_class(node: ast.ClassDef, constants: Mapping[str, ast.expr]) -> dict[str, Parameter]:
    rows = [n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
    names = [n.target.id for n in rows if isinstance(n.target, ast.Name)]
    described = docstrings.parse(ast.get_docstring(node), names).arguments
    return {
        name: _one(name, n.annotation, n.value, described.get(name, ""), "KEYWORD_ONLY", constants)
        for name, n in zip(names, rows, strict=True)
    }


def _one(
    name: str,
    annotation: ast.expr | None,
    default: ast.expr | None,
    said: str,
    kind: str,
    constants: Mapping[str, ast.expr],
) -> Parameter:
    value = REQUIRED if default is None else _literal(default, constants)
    hint = _type(annotation) if annotation else Any if value in (None, REQUIRED) else type(value)
    return Parameter(name, hint, value, said, kind)


def _literal(node: ast.expr, constants: Mapping[str, ast.expr]) -> Any:
    if isinstance(node, ast.Name) and node.id in constants:
        node = constants[node.id]
    made = ast.unparse(node)
    if made in _EMPTY:
        return _EMPTY[made]()
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError) as why:
        raise _Unreadable(made) from why


def _type(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return (
            _type(ast.parse(node.value, mode="eval").body)
            if isinstance(node.value, str)
            else node.value
        )
    if isinstance(node, ast.Name) and node.id in _NAMED:
        return _NAMED[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return Union[_type(node.left), _type(node.right)]  # noqa: UP007
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        outer = _type(node.value)
        if outer is Literal:
            return Literal[tuple(ast.literal_eval(i) for i in inner)]  # type: ignore[misc]
        return outer[tuple(_type(i) for i in inner)]
    raise _Unreadable(ast.unparse(node))


def choices(kind: Any) -> tuple[Any, ...]:
    """The values of a `Literal`, alone or in a union; empty where any value of the type will do."""
    if typing.get_origin(kind) is Literal:
        return typing.get_args(kind)
    if typing.get_origin(kind) in (types.UnionType, Union):
        return tuple(c for k in typing.get_args(kind) for c in choices(k))
    return ()
