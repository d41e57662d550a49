"""Readings to TensorBoard, trackio and wandb. The run's files stay the truth: a tracker is told
what has been written there, and one that fails is counted and said, and never stops a run.

What was sent is noted in `tracked.jsonl`, line by line, so that a run that goes on sends nothing
twice: the readings it makes again are those it had made before.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from assay.errors import InputError, Missing
from assay.records.runs import Run, read_lines, write_lines

log = logging.getLogger("assay")
SENT = "tracked.jsonl"
GIVE_UP = 3  # failures in a row after which a tracker is left alone
PLAIN = (
    "gold",
    "gold_err",
    "kl",
    "kl_err",
    "proxy",
    "proxy_err",
    "generated",
    "scored",
    "compared",
    "labels",
    "updates",
    "seconds",
)
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
    """One tracker's run. Whatever it raises is caught by who holds it."""

    def log(self, step: int, numbers: dict[str, float]) -> None: ...
    def close(self) -> None: ...


def numbers(
    reading: Mapping[str, Any], judges: Sequence[str], golds: Sequence[str] = ()
) -> dict[str, float]:
    """A reading's numbers by name: gold, kl, proxy and their errors, `rewards/NAME`, `golds/NAME`
    where there are several, the stats under their own names, what a watch said, the cost so far.
    What was not measured is left out. Of a step's several policies, and of the chosen one that is
    read again, names begin with the tag.
    """
    out: dict[str, Any] = {k: reading.get(k) for k in PLAIN}
    for name, kind in (
        ("rewards", judges),
        ("rewards_err", judges),
        ("golds", golds if len(golds) > 1 else ()),
    ):
        out |= {f"{name}/{n}": v for n, v in zip(kind, reading.get(name) or (), strict=False)}
    out |= reading.get("stats") or {}
    out |= {f"watch/{k}": v for k, v in (reading.get("watch") or {}).items()}
    tag = "" if reading["tag"] in ("", "reference") else f"{reading['tag']}/"
    return {
        tag + k: float(v)
        for k, v in out.items()
        if isinstance(v, (int, float)) and not isinstance(v, bool)
    }


class _TensorBoard:
    """Event files in the run's folder `tensorboard`."""

    def __init__(self, run: Run, project: str):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run.folder / "tensorboard"))
        if not _sent(run, "tensorboard"):
            text = json.dumps(_config(run), indent=1, ensure_ascii=False).replace("\n", "\n    ")
            self.writer.add_text("run", f"    {text}")

    def log(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class _Trackio:
    """A run of the project in trackio's own store; an earlier sitting of it goes on."""

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
    """A run of wandb, named by the folder; its own files lie in the run's folder. wandb's steps
    only ever grow, and a chosen checkpoint is read again at an earlier one: the step is a number of
    its own, which every other is drawn against.
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
    """The trackers named, once each. Raises InputError for one that is none, Missing for one that
    is not installed.
    """
    found = tuple(dict.fromkeys(names))
    for name in found:
        if name not in TRACKERS:
            raise InputError(f"there is no tracker '{name}'; they are {', '.join(TRACKERS)}")
        if importlib.util.find_spec(TRACKERS[name][1]) is None:
            raise Missing(
                f"readings go to {name} through its own package, which is not installed: pip "
                f"install 'assay[{name}]'"
            )
    return found


class Tracked:
    """The trackers of one run: called with each reading after it was written. Opened at the first,
    so that a run which is refused leaves nothing. `failed` counts, by tracker, readings that did
    not arrive.
    """

    def __init__(self, run: Run, names: Iterable[str], project: str = "assay"):
        self.run, self.names, self.project = run, possible(names), project
        self.open: dict[str, Tracker] = {}
        self.sent = {name: _sent(run, name) for name in self.names}
        self.failed, self.arrived, self._row = (dict.fromkeys(self.names, 0) for _ in range(3))

    def __call__(self, reading: Mapping[str, Any]) -> None:
        """Send one reading to those trackers that have not had it."""
        judges, golds = self.run.about.get("rewards") or (), self.run.about.get("golds") or ()
        place = (int(reading["step"]), str(reading["tag"]))
        for name in self.names:
            if place in self.sent[name]:
                continue
            if self._row[name] >= GIVE_UP:
                self.failed[name] += 1
                continue
            try:
                if name not in self.open:
                    self.open[name] = TRACKERS[name][0](self.run, self.project)
                self.open[name].log(place[0], numbers(reading, judges, golds))
            except (
                Exception
            ) as why:  # whatever a tracker or its network raises: the run is worth more
                self._failure(name, why)
                continue
            self._row[name] = 0
            self.arrived[name] += 1
            self.sent[name].add(place)
            write_lines(
                self.run.folder / SENT, [{"tracker": name, "step": place[0], "tag": place[1]}]
            )

    def close(self) -> None:
        """Close the trackers, and say what did not arrive."""
        for name, tracker in self.open.items():
            try:
                tracker.close()
            except Exception as why:
                self._failure(name, why)
        for name, n in self.failed.items():
            if n:
                log.warning(
                    "%s failed %d times; the run's files hold everything, and `assay track %s "
                    "--to %s` sends what it has not had",
                    name,
                    n,
                    self.run.folder,
                    name,
                )

    def _failure(self, name: str, why: Exception) -> None:
        self.failed[name] += 1
        self._row[name] += 1
        if self.failed[name] == 1:
            log.warning(
                "%s failed (%s: %s); the run goes on",
                name,
                type(why).__name__,
                " ".join(str(why).split())[:200],
            )


def export(run: Run, names: Iterable[str], project: str = "assay") -> dict[str, dict[str, int]]:
    """A run's readings to trackers: those that were not sent before; TensorBoard's files are made
    anew. How many arrived and failed, by tracker.
    """
    names = possible(names)
    if "tensorboard" in names:
        for file in (run.folder / "tensorboard").glob("events.out.tfevents.*"):
            file.unlink()
        _forget(run, "tensorboard")
    tracked = Tracked(run, names, project)
    for reading in run.readings():
        tracked(reading)
    tracked.close()
    return {name: {"sent": tracked.arrived[name], "failed": tracked.failed[name]} for name in names}


def _sent(run: Run, name: str) -> set[tuple[int, str]]:
    """(step, tag) of what a tracker has had."""
    return {
        (int(r["step"]), str(r["tag"]))
        for r in read_lines(run.folder / SENT)
        if r["tracker"] == name
    }


def _forget(run: Run, name: str) -> None:
    """Strike what a tracker had off the list."""
    path = run.folder / SENT
    kept = [r for r in read_lines(path) if r["tracker"] != name]
    path.unlink(missing_ok=True)
    if kept:
        write_lines(path, kept)


def _config(run: Run) -> dict[str, Any]:
    return {k: run.about[k] for k in CONFIG if run.about.get(k) is not None}


def _name(run: Run) -> str:
    """The folder's name and when the run began: the same in every sitting, and another run's is
    another.
    """
    began = str(run.about.get("started") or "")
    when = datetime.fromisoformat(began).strftime("%m%d-%H%M%S") if began else "0"
    salt = hashlib.sha256(f"{run.folder.resolve()} {began}".encode()).hexdigest()[:4]
    return (
        "".join(c if c.isalnum() or c in "-_." else "-" for c in run.folder.resolve().name)
        + f"-{when}-{salt}"
    )
