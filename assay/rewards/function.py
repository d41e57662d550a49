"""Rewards that are somebody's function: `FILE.py:name`, called as name(prompts, completions,
**columns) → list[float | None].

The signature is the one that trainers of this field share. Prompts and completions are texts, or
lists of messages where the prompt is a conversation; columns are the prompts file's others, one
value a completion; None says that this reward does not apply. The function may be `async`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.errors import InputError
from assay.registry.catalogue import nearest

Turns = tuple[tuple[str, str], ...]


class FunctionReward:
    """A function as a judge of texts. It is handed the columns that it names, or all of them if it
    takes **columns.
    """

    kind, partial = "function", True

    def __init__(self, function: Callable[..., Any], name: str):
        self.function, self.names = function, (name,)
        takes = inspect.signature(function).parameters.values()
        self.open, self.takes = any(p.kind is p.VAR_KEYWORD for p in takes), {p.name for p in takes}
        self.needs = {
            p.name
            for p in takes
            if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        }
        self.needs -= {"prompts", "completions"}

    def to(self, device: torch.device) -> FunctionReward:
        """Itself: where a function computes is its own business."""
        return self

    def possible(
        self, columns: Mapping[str, Sequence[Any]], places: Collection[int], flag: str, file: str
    ) -> None:
        """Raises InputError where the function cannot do without a column that no row of the file
        has.
        """
        for name in sorted(self.needs - columns.keys()):
            there = (
                f"has the columns {', '.join(sorted(columns))}"
                if columns and self.open
                else "has none of that name"
            )
            raise InputError(
                f"--{flag}: {self.names[0]} asks for a column '{name}', and {file} {there}"
                f"{nearest(name, columns) if columns else ''}; add it, rename one with "
                f"--world.columns, or give '{name}' a default"
            )

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "1 R"]:
        """One score a response, NaN where the function says None. Raises InputError for anything
        else it may return.
        """
        if not prompts:
            return torch.zeros(1, 0)
        asks, said = _messages(prompts, responses, turns or [None] * len(prompts))
        given = {k: list(v) for k, v in (columns or {}).items() if self.open or k in self.takes}
        try:
            found = self.function(prompts=asks, completions=said, **given)
            if inspect.isawaitable(found):
                found = asyncio.run(_awaited(found))
        except InputError:
            raise
        except (Exception, SystemExit) as why:  # a person's function raises whatever it likes
            raise InputError(
                f"reward {self.names[0]} raised {_said(why)}; repair the function, or let it "
                "return None for what it cannot judge"
            ) from why
        return torch.tensor(
            [[self._number(i, v) for i, v in enumerate(self._listed(found, len(prompts)))]]
        )

    def _listed(self, found: Any, n: int) -> Sequence[Any]:
        if hasattr(found, "tolist"):
            found = found.tolist()
        if not isinstance(found, (list, tuple)) or len(found) != n:
            what = (
                f"{len(found)} values"
                if isinstance(found, (list, tuple))
                else f"a {type(found).__name__}"
            )
            raise InputError(
                f"reward {self.names[0]} returned {what} for {n} completions; return a list of "
                f"{n} numbers, None where it does not apply"
            )
        return found

    def _number(self, i: int, value: Any) -> float:
        if value is None:
            return math.nan
        if (
            not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max
        ):  # of an int of any size too
            raise InputError(
                f"reward {self.names[0]} returned {value!r:.60} for completion {i}; return a "
                "finite number, or None where it does not apply"
            )
        return float(value)


def _said(why: BaseException) -> str:
    """What went wrong in somebody's code and where, on one line and without control characters: it
    is printed on a terminal.
    """
    last = traceback.extract_tb(why.__traceback__)[-1:]
    where = (
        ""
        if isinstance(why, SyntaxError) or not last
        else f" at line {last[0].lineno} of {last[0].filename}"
    )
    text = "".join(c if c.isprintable() else " " for c in str(why))[:160]
    return f"{type(why).__name__}{where}{': ' if text else ''}{text}"


async def _awaited(found: Any) -> Any:
    return await found


def _messages(
    prompts: Sequence[str], responses: Sequence[str], turns: Sequence[Turns | None]
) -> tuple[list[Any], list[Any]]:
    """Texts, or lists of messages where a prompt is a conversation."""
    asks: list[Any] = [
        p if t is None else [{"role": r, "content": c} for r, c in t]
        for p, t in zip(prompts, turns, strict=True)
    ]
    said: list[Any] = [
        r if t is None else [{"role": "assistant", "content": r}]
        for r, t in zip(responses, turns, strict=True)
    ]
    return asks, said


def function_named(spec: str, flag: str) -> FunctionReward:
    """The function that `FILE.py:name` names. Raises InputError where there is none."""
    file, colon, name = spec.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py":
        raise InputError(f"--{flag} is '{spec}'; a function is named as FILE.py:name")
    if not path.is_file():
        raise InputError(
            f"there is no file {file}, in which --{flag} looks for the function {name}"
        )
    about = importlib.util.spec_from_file_location(f"assay_reward_{path.stem}", path)
    assert about is not None and about.loader is not None
    module = importlib.util.module_from_spec(about)
    sys.modules[about.name] = module
    try:
        about.loader.exec_module(module)
    except (Exception, SystemExit) as why:
        raise InputError(
            f"{file} cannot be imported ({_said(why)}); repair it, or give another file"
        ) from why
    found = getattr(module, name, None)
    if not callable(found):
        defined = [k for k, v in vars(module).items() if inspect.isfunction(v)]
        raise InputError(f"{file} has no function {name}{nearest(name, defined)}")
    return FunctionReward(found, name)
