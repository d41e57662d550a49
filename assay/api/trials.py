"""The trials of a sweep: what lies in each one's folder, and what has become of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.api import inputs
from assay.api.begun import check_loop, state
from assay.api.needs import check_needs
from assay.api.orders import Order
from assay.api.orders import order as order_of
from assay.engine import parallel
from assay.errors import Collapsed, InputError, NotFinite
from assay.records.runs import Run
from assay.registry.entry import Entry

if TYPE_CHECKING:
    from assay.api.execution import Worlds

Job = tuple[Entry, Mapping[str, Any], Path]  # a recipe, values by flag name, the run's folder


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        order: What is run.
        folder: The run's folder.
        state: "new", "begun" or "done", before the sweep.
    """

    order: Order
    folder: Path
    state: str


def checked_trials(jobs: Sequence[Job], worlds: Worlds, *, accept: bool = False) -> list[Trial]:
    """Check every job of a sweep, and call its judges once, before the first run.

    Args:
        jobs: Recipe, values by flag name, folder.
        worlds: Where worlds are built.
        accept: Whether runs go on though their inputs have changed.

    Returns:
        The trials, in the order of the jobs.

    Raises:
        InputError: An argument is impossible, a judge fails, or a run of other arguments is in a
            folder.
    """
    orders = [(order_of(entry, values), folder) for entry, values, folder in jobs]
    for order, _ in orders:
        check_needs(order)
    trials = [Trial(order, folder, state(folder, order)) for order, folder in orders]
    for trial in trials:
        if trial.state == "begun":
            inputs.unchanged(Run.open(trial.folder).about, str(trial.folder), accept=accept)
    for trial in trials:
        if trial.state == "done":  # what goes on is checked as it does
            check_loop(trial.order, trial.folder, worlds)
    parallel.barrier()  # no process makes a folder while another still looks
    for trial in trials:
        if trial.state != "done":
            worlds.tried(trial.order)  # a judge that fails would fail in every run
    return trials


def outcome(
    trial: Trial, drive: Callable[[Trial], object], complain: Callable[[str], None]
) -> dict[str, Any]:
    """Drive a trial that is not done, and tell what has become of it.

    Args:
        trial: The trial.
        drive: Runs it into its folder.
        complain: Is given what went wrong, line by line, a traceback included where it is nothing
            that a user can mend.

    Returns:
        The run's summary and `reason`, which is None where nothing failed.
    """
    from assay.api import execution

    try:
        if trial.state != "done":
            drive(trial)
    except (Collapsed, InputError, NotFinite) as why:
        return failed(trial.order.entry.name, trial.folder, str(why), complain)
    except Exception as why:
        complain(traceback.format_exc().rstrip("\n"))
        reason = f"{type(why).__name__}: {why}"
        return failed(trial.order.entry.name, trial.folder, reason, complain)
    return {**execution.summary(Run.open(trial.folder)), "reason": None}


def failed(
    recipe: str, folder: Path, reason: str, complain: Callable[[str], None]
) -> dict[str, Any]:
    """The outcome of a trial that failed.

    Args:
        recipe: The recipe's name.
        folder: The run's folder.
        reason: Why, in one sentence.
        complain: Is given a line that says it.
    """
    complain(f"assay: {folder} failed: {reason}")
    return {"run": str(folder), "recipe": recipe, "state": "failed", "reason": reason}


def line(i: int, n: int, folder: Path, state: str) -> str:
    """What a sweep says of a trial: its place among all of them, and what lay in its folder."""
    there = {"done": ", finished before", "begun": ", goes on"}.get(state, "")
    return f"{i} of {n}: {folder}{there}"
