"""From what `--watch` says to somebody who labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.watch.labelers.chat_judge import Endpoint
from assay.watch.labelers.function import Function, load
from assay.watch.labelers.people import People
from assay.watch.labelers.questions import Labeler

KINDS = "gold, FILE.py:function, csv, page, or an address such as http://127.0.0.1:8000/v1"


def possible(by: str, model: str) -> None:
    """Raises InputError for a labeler that cannot be, before anything is built or run."""
    if by not in ("gold", "csv", "page"):
        _made(by, model=model, rate=0, timeout=1, tries=1, at_once=0)


def labeler(
    by: str,
    *,
    gold: Callable[..., Any] | None,
    folder: Path | None,
    again: str,
    model: str = "",
    rate: float = 0.0,
    timeout: float = 60.0,
    tries: int = 5,
    at_once: int = 0,
) -> Labeler:
    """The labeler of that name. `gold`: the world's, where it has one; `again`: the command that
    goes on with the run.
    """
    if by == "gold":
        if gold is None:
            raise InputError(f"--watch is gold and this world has none: name who judges, {KINDS}")
        from assay.watch.labelers.gold import Gold

        return Gold(gold)
    if by in ("csv", "page"):
        if folder is None:
            raise InputError(f"--watch is {by}, and people need the folder of a run to answer in")
        return People(folder, again)
    return _made(by, model=model, rate=rate, timeout=timeout, tries=tries, at_once=at_once)


def _made(by: str, *, model: str, rate: float, timeout: float, tries: int, at_once: int) -> Labeler:
    if by.startswith(("http://", "https://")):
        return Endpoint(by, model, rate=rate, timeout=timeout, tries=tries, at_once=at_once or 4)
    if ".py" in by:
        return Function(load(by), by, at_once=at_once or 1, tries=tries)
    raise InputError(f"--watch is '{by}'; it is {KINDS}")
