"""From what `--watch` says to a labeler."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.registry.functions import function_in_file
from assay.watch.config import WatchConfig
from assay.watch.labelers.chat_judge import ChatJudge
from assay.watch.labelers.function import FunctionLabeler
from assay.watch.labelers.people import People
from assay.watch.labelers.questions import Labeler

LIVE = re.compile(r"[\w.]+:[\w.<>]+")  # module:qualname, as a record names a live function
KINDS = "gold, FILE.py:function, csv, page, or an address such as http://127.0.0.1:8000/v1"


def asks_people_or_gold(config: WatchConfig) -> bool:
    """Whether the labeler is neither a function nor a judge behind an address."""
    return config.function is None and config.by in ("gold", "csv", "page")


def check_labeler(config: WatchConfig) -> None:
    """Raise InputError for a labeler that cannot be made, before anything is built or run."""
    if not asks_people_or_gold(config):
        _function_or_judge(config)


def make_labeler(
    config: WatchConfig,
    *,
    gold: Callable[..., Any] | None,
    folder: Path | None,
    again: str,
) -> Labeler:
    """The labeler that a configuration names.

    Args:
        config: `by` names the labeler; model, rate, timeout, tries and at_once are its settings.
        gold: The world's gold; None if it has none.
        folder: The run's folder, in which people answer.
        again: The command that goes on with the run, for messages.

    Raises:
        InputError: There is no such labeler, or it lacks what it needs.
    """
    if config.function is None and config.by == "gold":
        if gold is None:
            raise InputError(f"--watch is gold and this world has none: name who labels, {KINDS}")
        from assay.watch.labelers.gold import GoldLabeler

        return GoldLabeler(gold)
    if config.function is None and config.by in ("csv", "page"):
        if folder is None:
            raise InputError(
                f"--watch is {config.by}, and people need the folder of a run to answer in"
            )
        return People(folder, again)
    return _function_or_judge(config)


def _function_or_judge(config: WatchConfig) -> Labeler:
    by = config.by
    if config.function is not None:
        return FunctionLabeler(config.function, by, at_once=config.at_once or 1, tries=config.tries)
    if by.startswith(("http://", "https://")):
        return ChatJudge(
            by,
            config.model,
            rate=config.rate,
            tries=config.tries,
            timeout=config.timeout,
            at_once=config.at_once or 4,
        )
    if ".py" in by:
        return FunctionLabeler(
            function_in_file(by, "watch"), by, at_once=config.at_once or 1, tries=config.tries
        )
    if LIVE.fullmatch(by):
        raise InputError(
            f"--watch is '{by}', a Python function that only the program that began the run has at "
            f"hand; go on there, or name who labels, {KINDS}"
        )
    raise InputError(f"--watch is '{by}'; it is {KINDS}")
