"""Sends readings to trackers. The run's files stay the truth.

A tracker is told what has been written there. One that fails is counted and reported, and never
stops a run. What was sent is noted in `tracked.jsonl`, line by line, so that a run that goes on
sends nothing twice: the readings it makes again are those it had made before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assay.records.lines import write_lines
from assay.records.runs import Run
from assay.records.trackers import SENT, TRACKERS, Tracker, forget, possible, sent
from assay.stats.training import statistics

__all__ = ["SENT", "TRACKERS", "Tracked", "export", "numbers", "possible"]

log = logging.getLogger("assay")
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


def numbers(
    reading: Mapping[str, Any], rewards: Sequence[str], golds: Sequence[str] = ()
) -> dict[str, float]:
    """Return a reading's numbers by name. What was not measured is left out.

    Args:
        reading: The reading.
        rewards: Names of the reward models.
        golds: Names of the golds.

    Returns:
        gold, kl, proxy and their errors; `rewards/NAME`; `golds/NAME` where there are several;
        training's statistics as transformers' Trainer sends them, `train/loss`, `train/reward`; the
        other stats under their own names; `watch/…`; the cost so far. Names begin with the tag
        where a step has several policies, and for the second reading of the best checkpoint.
    """
    out: dict[str, Any] = {k: reading.get(k) for k in PLAIN}
    for name, kind in (
        ("rewards", rewards),
        ("rewards_err", rewards),
        ("golds", golds if len(golds) > 1 else ()),
    ):
        out |= {f"{name}/{n}": v for n, v in zip(kind, reading.get(name) or (), strict=False)}
    trained = statistics(reading)
    stats = reading.get("stats") or {}
    out |= {f"train/{k}" if k in trained else k: v for k, v in stats.items()}
    out |= {f"watch/{k}": v for k, v in (reading.get("watch") or {}).items()}
    tag = "" if reading["tag"] in ("", "reference") else f"{reading['tag']}/"
    return {
        tag + k: float(v)
        for k, v in out.items()
        if isinstance(v, (int, float)) and not isinstance(v, bool)
    }


class Tracked:
    """The trackers of one run. Call it with each reading after it was written.

    They are opened at the first reading, so that a run which is refused leaves nothing.

    Args:
        run: The run.
        names: Names of TRACKERS.
        project: The tracker's project.

    Attributes:
        arrived: Readings that arrived, by tracker.
        failed: Readings that did not, by tracker.
    """

    def __init__(self, run: Run, names: Iterable[str], project: str = "assay"):
        self.run, self.names, self.project = run, possible(names), project
        self.open: dict[str, Tracker] = {}
        self._before: tuple[int, float] | None = None
        self.sent = {name: sent(run, name) for name in self.names}
        self.failed, self.arrived, self._row = (dict.fromkeys(self.names, 0) for _ in range(3))

    def __call__(self, reading: Mapping[str, Any]) -> None:
        """Send one reading to the trackers that have not had it."""
        record = self.run.record
        place = (int(reading["step"]), str(reading["tag"]))
        told = numbers(reading, record.rewards, record.golds) | self._step_time(reading)
        for name in self.names:
            if place in self.sent[name]:
                continue
            if self._row[name] >= GIVE_UP:
                self.failed[name] += 1
                continue
            try:
                if name not in self.open:
                    self.open[name] = TRACKERS[name][0](self.run, self.project)
                self.open[name].log(place[0], told)
            except Exception as why:  # whatever a tracker or its network raises must not stop a run
                self._failure(name, why)
                continue
            self._row[name] = 0
            self.arrived[name] += 1
            self.sent[name].add(place)
            write_lines(
                self.run.folder / SENT, [{"tracker": name, "step": place[0], "tag": place[1]}]
            )

    def _step_time(self, reading: Mapping[str, Any]) -> dict[str, float]:
        """Seconds a step since the last reading, as trainers send them; {} where there are none."""
        if reading["tag"] == "best" or reading.get("seconds") is None:
            return {}
        now = reading["step"], reading["seconds"]
        before, self._before = self._before, now
        if before is None or now[0] <= before[0]:
            return {}
        return {"train/step_time": (now[1] - before[1]) / (now[0] - before[0])}

    def close(self) -> None:
        """Close the trackers, and log what did not arrive."""
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
    """Send the readings of a run that trackers have not had. TensorBoard's files are made anew.

    Args:
        run: The run.
        names: Names of TRACKERS.
        project: The tracker's project.

    Returns:
        How many were `sent` and how many `failed`, by tracker.
    """
    names = possible(names)
    if "tensorboard" in names:
        for file in (run.folder / "tensorboard").glob("events.out.tfevents.*"):
            file.unlink()
        forget(run, "tensorboard")
    tracked = Tracked(run, names, project)
    for reading in run.readings():
        tracked(reading)
    tracked.close()
    return {name: {"sent": tracked.arrived[name], "failed": tracked.failed[name]} for name in names}
