"""The trackers that readings can be sent to: TensorBoard, trackio and wandb."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from assay.errors import InputError
from assay.records.lines import read_lines, write_lines
from assay.records.runs import Run
from assay.registry.extras import need

SENT = "tracked.jsonl"
CONFIG = (
    "recipe",
    "title",
    "arguments",
    "loop",
    "seed",
    "world",
    "fit",
    "run",
    "watch",
    "golds",
    "gold_kind",
    "rewards",
    "assay",
    "commit",
    "versions",
)


@runtime_checkable
class Tracker(Protocol):
    """One tracker's run. It may raise anything; `Tracked` catches it."""

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Send the numbers of one reading."""

    def close(self) -> None:
        """Finish the tracker's run."""


class _TensorBoard:
    """Event files in the run's folder `tensorboard`."""

    def __init__(self, run: Run, project: str):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run.folder / "tensorboard"))
        if not sent(run, "tensorboard"):
            text = json.dumps(_config(run), indent=1, ensure_ascii=False).replace("\n", "\n    ")
            self.writer.add_text("run", f"    {text}")

    def log(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class _Trackio:
    """A run of the project in trackio's own store; a run that goes on is the same run there."""

    def __init__(self, run: Run, project: str):
        trackio = importlib.import_module("trackio")
        self.run = trackio.init(
            project=project,
            name=_name(run),
            config=_config(run),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log({**numbers, "assay/step": float(step)}, step=step)

    def close(self) -> None:
        self.run.finish()


class _Wandb:
    """A run of wandb, named by the folder; wandb's own files lie in the run's folder.

    wandb's steps only grow, and the best checkpoint is read again at an earlier one. So the step is
    a number of its own, against which the others are drawn.
    """

    def __init__(self, run: Run, project: str):
        wandb = importlib.import_module("wandb")
        self.run = wandb.init(
            project=project,
            name=_name(run),
            id=_name(run),
            resume="allow",
            config=_config(run),
            dir=str(run.folder),
            settings={"console": "off"},
        )
        self.run.define_metric("assay/step")
        self.run.define_metric("*", step_metric="assay/step")

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log({**numbers, "assay/step": step})

    def close(self) -> None:
        self.run.finish()


TRACKERS: dict[str, tuple[type[Any], str]] = {
    "tensorboard": (_TensorBoard, "tensorboard"),
    "trackio": (_Trackio, "trackio"),
    "wandb": (_Wandb, "wandb"),
}


def possible(names: Iterable[str]) -> tuple[str, ...]:
    """Return the trackers of some names, once each.

    Args:
        names: Names of TRACKERS.

    Raises:
        InputError: A name is not one of them.
        Missing: A tracker's package is not installed.
    """
    found = tuple(dict.fromkeys(names))
    for name in found:
        if name not in TRACKERS:
            raise InputError(f"there is no tracker '{name}'; they are {', '.join(TRACKERS)}")
        need(TRACKERS[name][1], name, f"the tracker {name}")
    return found


def sent(run: Run, name: str) -> set[tuple[int, str]]:
    """The (step, tag) of every reading that a tracker has had."""
    return {
        (int(r["step"]), str(r["tag"]))
        for r in read_lines(run.folder / SENT)
        if r["tracker"] == name
    }


def forget(run: Run, name: str) -> None:
    """Remove a tracker's readings from the list of what was sent."""
    path = run.folder / SENT
    kept = [r for r in read_lines(path) if r["tracker"] != name]
    path.unlink(missing_ok=True)
    if kept:
        write_lines(path, kept)


def _config(run: Run) -> dict[str, Any]:
    return {k: run.about[k] for k in CONFIG if run.about.get(k) is not None}


def _name(run: Run) -> str:
    """The folder's name and when the run began: the same whenever the run goes on, another one for
    another run.
    """
    began = str(run.about.get("started") or "")
    when = datetime.fromisoformat(began).strftime("%m%d-%H%M%S") if began else "0"
    salt = hashlib.sha256(f"{run.folder.resolve()} {began}".encode()).hexdigest()[:4]
    return (
        "".join(c if c.isalnum() or c in "-_." else "-" for c in run.folder.resolve().name)
        + f"-{when}-{salt}"
    )
