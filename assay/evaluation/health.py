"""Whether a run's training is alive: says so once it has died, and which numbers are not finite.

Every process comes to the same conclusions, because statistics are of the whole batch; the first
one tells and records them. What was counted is saved with the run, so that a run which is killed
and goes on warns as the uninterrupted one does.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from assay.core import Loop, Step
from assay.core.naming import named, sample_of
from assay.engine import parallel
from assay.engine.nonfinite import NAMED, ORDER, Event, all_finite, nonfinite
from assay.errors import Collapsed, InputError, NotFinite
from assay.evaluation.config import MeasureConfig
from assay.evaluation.progress import Progress
from assay.records.memory import MemoryRun
from assay.records.run_warnings import LOST, NONFINITE, RunWarning
from assay.records.runs import Run
from assay.stats import collapse

log = logging.getLogger("assay")
TOLD = 3  # events of numbers that are not finite which a run says
MOST = 10  # events of numbers that are not finite which a run records; all are counted
MOST_SIGNS = 40  # warnings that training has died which a run records; it may recover often
ADVICE = {
    "reward": "Return a finite number, or None where the reward does not apply; --nonfinite-rewards"
    " skip leaves such completions out and goes on.",
    "log-probability under the reference": "The reference's own forward pass is at fault: check "
    "--dtype and its attention kernel on this text.",
    "log-probability under the policy": "Lower --learning-rate; at the first step, check --dtype "
    "and the attention kernel on this text.",
}
OTHERWISE = "Lower --learning-rate, and check the reward of this completion."


class Health:
    """Watches the steps of one run for signs that training has died.

    Args:
        loop: Says how many completions a step samples.
        config: Says how long a sign has to last, and what happens then.
        progress: Keeps what was counted, and the warnings.
        run: The record; None for a run without one.
        resumed: Whether the run goes on, so that the record's warnings are those that were saved.
    """

    def __init__(
        self,
        loop: Loop,
        config: MeasureConfig,
        progress: Progress,
        run: Run | MemoryRun | None,
        *,
        resumed: bool = False,
    ):
        self.config, self.progress = config, progress
        self.run = run if parallel.rank() == 0 else None
        completions = loop.batch_size * loop.num_generations
        self.monitor = collapse.Monitor(config.collapse_steps, completions, progress.signs or None)
        progress.signs = self.monitor.state
        self._events: list[Event] = []
        if resumed and self.run is not None:
            self.run.note({"warnings": progress.warnings, "run": self._settings(self.run)})

    @contextmanager
    def collecting(self, t: int) -> Iterator[None]:
        """Collect numbers that are not finite within the block, and record them at its end.

        Args:
            t: The step under way.

        Raises:
            NotFinite: As raised within, with the sample's name.
        """
        leave_out = self.config.nonfinite_rewards == "skip"
        try:
            with nonfinite.into(self._events, leave_out=leave_out):
                yield
        except NotFinite as why:
            said = self._record(t, quiet=True)
            raise (NotFinite(f"{why}, step {t}: {said[-1]}") if said else why) from why
        except InputError as why:  # maybe of this process alone: the others are not asked
            if self._record(t, quiet=True, alone=True):
                raise InputError(f"step {t}: {why}") from why
            raise
        self._record(t)

    def step(self, steps: list[Step], t: int) -> None:
        """Count a step that was made.

        Args:
            steps: What the recipe yielded.
            t: The step's number.

        Raises:
            Collapsed: Training has died, and the run is to stop there.
        """
        for s in steps:
            self.progress.count(s.stats)
        stats = {k: v for s in steps for k, v in s.stats.items()}
        if self._broken:
            stats["parameters_not_finite"] = 1.0
        self._taken(t, stats)

    def before_reading(self, steps: list[Step], t: int) -> None:
        """Look at the parameters of policies that are about to be read.

        Raises:
            Collapsed: They are not finite, and the run is to stop there.
        """
        each = [getattr(s.policy, "parameters", None) for s in steps]
        if not all(all_finite(parameters()) for parameters in each if callable(parameters)):
            self._taken(t, {"parameters_not_finite": 1.0})

    def end(self, t: int) -> None:
        """Take in that the run has made its last step.

        Raises:
            Collapsed: No step of a short run taught anything, and the run is to stop there.
        """
        self._tell(t, self.monitor.at_end(t), {})

    @property
    def _broken(self) -> bool:
        return any(w.get("broken") for w in self.progress.warnings)

    def _taken(self, t: int, stats: Mapping[str, float]) -> None:
        began, ended = self.monitor(t, stats)
        for warning in self.progress.warnings:
            if warning["kind"] in ended and warning["until"] is None:
                warning["until"] = t
        if ended and not began:
            self._write()
        self._tell(t, began, stats)

    def _tell(self, t: int, began: Mapping[str, int], stats: Mapping[str, float]) -> None:
        """Say and record what begins to hold; end the run where it is to end."""
        said, lost = "", any(w["kind"] == LOST for w in self.progress.warnings)
        for kind, since in began.items():
            what, advice = collapse.sentence(kind, since, t, stats)
            said = said or f"{what}. {advice}"
            warning: RunWarning = {
                "kind": kind, "step": t, "since": since, "until": None, "what": what,
                "advice": advice,
            }  # fmt: skip
            if sum(w["kind"] != NONFINITE for w in self.progress.warnings) < MOST_SIGNS:
                self.progress.warnings.append(dict(warning))
            follows = lost and kind not in (LOST, "updates_skipped")  # the cause is told
            if parallel.rank() == 0 and self.config.on_collapse == "warn" and not follows:
                about = {"once": f"collapse {kind}"}
                log.warning("step %d: %s. %s", t, what, advice, extra=about)
        if not began:
            return
        self._write()
        if self.config.on_collapse == "stop":
            raise Collapsed(f"stopped at step {t} by --on-collapse: {said}")

    def _record(self, t: int, *, quiet: bool = False, alone: bool = False) -> list[str]:
        """Record what was collected, in every process alike; return a sentence for each."""
        sentences = []
        events, before = [_plain(e) for e in self._events], len(self.progress.warnings)
        self._events.clear()
        lost = self._broken  # what follows is not finite either, and is recorded alone
        for found in events if alone else _of_all(events):
            what, number = found.pop("said"), found["number"]
            names = "; ".join(named(s) for s in found["samples"]) or "no single completion"
            more = found["count"] - len(found["samples"])
            what = what if number.startswith("reward") else f"{what}, from its {number}"
            said = f"{what}: {names}" + (f", and {more:,} more" if more > 0 else "")
            sentences.append(said)
            advice = ADVICE.get(number.split(" of ")[0], OTHERWISE)
            if advice == ADVICE["reward"] and self.config.nonfinite_rewards == "skip":
                advice = f"{advice.partition(';')[0]}. The run goes on without it."
            entry = {"kind": NONFINITE, "step": t, "since": t, "until": t, "what": said}
            n = sum(w["kind"] == NONFINITE for w in self.progress.warnings)
            if n < MOST or (found["broken"] and not self._broken):
                self.progress.warnings.append({**entry, "advice": advice, **found})
                if parallel.rank() == 0 and not quiet and n < TOLD and not lost:
                    last = " Later ones are in the record."
                    last = last if n + 1 == TOLD or found["broken"] else ""
                    log.warning("step %d: %s. %s%s", t, said, advice, last)
        if len(self.progress.warnings) > before:
            self._write()
        return sentences

    def _write(self) -> None:
        if self.run is not None:
            self.run.note({"warnings": self.progress.warnings})

    def _settings(self, run: Run | MemoryRun) -> dict[str, Any]:
        """The record's settings, with those that may change when a run goes on."""
        names = ("on_collapse", "collapse_steps", "nonfinite_rewards")
        return {**run.about["run"], **{k: getattr(self.config, k) for k in names}}


def _plain(event: Event) -> dict[str, Any]:
    """An event with its samples named."""
    reward = event.what == "reward"
    step = event.step
    return {
        "number": f"reward of {event.said}" if reward else event.what,
        "said": f"reward {event.said} is NaN or infinite"
        if reward
        else f"{'an update was skipped' if step and step.skipped else 'an update is not finite'} "
        f"({event.said})",
        "samples": [sample_of(*place) for place in event.places],
        "count": event.count,
        "broken": step is not None and not step.parameters,
    }


def _of_all(mine: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The processes' events as one list: every process sees the same updates, and its own samples
    of them.
    """
    if not mine or parallel.world_size() == 1:
        return mine
    found = []
    for same in zip(*parallel.objects(mine), strict=True):
        order = {what: i for i, what in enumerate(ORDER)}
        first = min(same, key=lambda e: order.get(e["number"], math.inf))
        alike = [e for e in same if e["number"] == first["number"]]
        samples = [s for e in alike for s in e["samples"]]
        samples = [s for i, s in enumerate(samples) if s not in samples[:i]]
        count = max(len(samples), sum(e["count"] for e in alike))
        if all(e["samples"] == first["samples"] for e in alike):
            count = first["count"]  # of a whole batch, which every process has
        found.append({**first, "samples": samples[:NAMED], "count": count})
    return found
