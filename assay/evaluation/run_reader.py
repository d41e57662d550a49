"""Reads the policies of one run, writes what was read, and keeps the best one so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from assay.core import Rng, Step, Task
from assay.engine.compiling import compiling_cost
from assay.engine.parallel import meter, rank
from assay.errors import InputError
from assay.evaluation.alerts import Alerts
from assay.evaluation.health import Health
from assay.evaluation.progress import Policies, Progress, nothing_spent
from assay.evaluation.reading import reward_names
from assay.evaluation.watching import Lookout
from assay.records.checks import READINGS
from assay.records.memory import MemoryRun
from assay.records.runs import Run
from assay.watch.setup import check_policy


class RunReader:
    """Makes the readings of a run.

    Args:
        reader: Reads one policy.
        eyes: The addresses of held-out completions.
        task: The run's task.
        progress: What the run has spent, and the best policy so far by gold.
        policies: Where policies are kept.
        lookout: The run's watch, None where nothing is watched.
        health: Records numbers that are not finite.
        run: The record, None for a run without one.
        every: Whether every policy that is read is kept.
        before: The readings that a resumed run has made, whose warnings are not given again.
    """

    def __init__(
        self,
        reader: Callable[[Step, Rng], tuple[dict[str, Any], list[dict[str, Any]]]],
        eyes: Rng,
        task: Task,
        progress: Progress,
        policies: Policies,
        lookout: Lookout | None,
        health: Health,
        *,
        run: Run | MemoryRun | None,
        every: bool,
        before: Iterable[Mapping[str, Any]] = (),
    ):
        self._reader, self.eyes, self.task, self.progress = reader, eyes, task, progress
        self.health = health
        self.policies, self.lookout, self.run, self.every = policies, lookout, run, every
        self.alerts = Alerts(before, reward_names(task), progress.warnings)

    def reader(self, step: Step, rng: Rng) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Read one policy, and record numbers that are not finite."""
        with self.health.collecting(max(0, self.progress.last_read)):
            return self._reader(step, rng)

    def all(self, steps: list[Step], t: int) -> Iterator[dict[str, Any]]:
        """Read the policies of one step.

        Args:
            steps: The policies.
            t: Their step.

        Raises:
            InputError: They are several, and the run is watched.
        """
        self.health.before_reading(steps, t)
        stats = self.progress.statistics()
        self.progress.last_read = t
        if self.lookout is not None and len(steps) > 1:
            raise InputError(
                "--watch sets one policy against the best so far, and this recipe yields "
                f"{len(steps)} at a step; leave it out"
            )
        for s in steps:
            yield self._read(s, t, stats)

    def reference(self, first: Step) -> dict[str, Any]:
        """Step 0: the reference, scored by the proxy that the recipe's first step names, before
        anything was spent.
        """
        line, rows = self.reader(Step(self.task.reference, reward=first.reward), self.eyes("same"))
        if line["gold"] is not None:
            self.progress.best = {"gold": line["gold"], "step": 0, "tag": "reference"}
            self.progress.read += 1
        return self._write(line, rows, 0, "reference", None, spent=nothing_spent())

    def _read(self, step: Step, t: int, stats: dict[str, float]) -> dict[str, Any]:
        """Read one policy, keep it if it is the best so far."""
        line, rows = self.reader(step, self.eyes("same"))
        best, gold = self.progress.best, line["gold"]
        better = gold is not None and (not best or gold > best["gold"])
        if gold is not None:
            self.progress.read += 1
        if better:
            self.progress.best = {"gold": gold, "step": t, "tag": step.tag}
        if self.every:
            check_policy(step.policy, "--policies")
        if better or self.every:
            self.policies.keep(step.policy, t, step.tag)
        watch = None
        if self.lookout is not None:
            with meter.charging(self.progress.spent):  # labels are a cost of the run
                watch = self.lookout.look(step, t, line)
        return self._write(line, rows, t, step.tag, stats, watch=watch)

    def best(self, last: list[Step]) -> dict[str, Any]:
        """Read the best checkpoint by gold at fresh addresses, and beside it the reference and the
        last policy.

        Args:
            last: The policies of the last step.
        """
        # the address keeps its first name, since the numbers follow from it
        best, fresh = self.progress.best, self.eyes("chosen")
        end = next((s for s in last if s.tag == best["tag"]), last[-1])
        if best["step"] == 0:
            step = Step(self.task.reference, reward=last[0].reward)
        elif (best["step"], best["tag"]) == (self.progress.last_read, end.tag):
            step = end
        else:
            step = self.policies.load(best["step"], best["tag"], end)
        others = {"fresh/gold_reference": Step(self.task.reference), "fresh/gold_last": end}
        if self.lookout is not None:
            others["fresh/gold_kept"] = self.lookout.kept()
        line, rows = self.reader(step, fresh)
        stats = {
            k: line["gold"] if s.policy is step.policy else self.reader(s, fresh)[0]["gold"]
            for k, s in others.items()  # one policy twice would draw the same completions twice
        }
        return self._write(line, rows, best["step"], "best", stats)

    def _write(
        self,
        line: dict[str, Any],
        rows: list[dict[str, Any]],
        t: int,
        tag: str,
        stats: dict[str, float] | None,
        spent: dict[str, int] | None = None,
        watch: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        reading = READINGS.complete(
            {
                "step": t,
                "tag": tag,
                **line,
                **(spent or self.progress.spent),
                "seconds": 0.0 if spent else self.progress.seconds,
                "stats": {**(stats or {}), **compiling_cost(), **line["stats"]},
                "watch": watch,
            }
        )
        if rank() == 0:
            self.alerts(reading)
        if self.run is not None and rank() == 0:
            self.run.keep([{"step": t, "tag": tag, **row} for row in rows])
            self.run.append(reading)
        return reading
