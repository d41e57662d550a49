"""What `train` and `open_run` return: a run's readings, its best checkpoint, its policy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.api.arguments import in_python
from assay.api.execution import Drive
from assay.api.inputs import findings
from assay.api.policy import TrainedPolicy
from assay.core import World
from assay.errors import InputError
from assay.records.best import BestPolicy, best, state_of
from assay.records.export import card, find_policy, load_policy
from assay.records.memory import MemoryRun
from assay.records.run_warnings import RunWarning, causes, collapsed
from assay.records.runs import Run as Record
from assay.records.schema import Reading
from assay.records.verify import Finding
from assay.registry.extras import need


class Run:
    """A run: what was measured of it, and the policies that it kept.

    `train` and `open_run` make it. Iterating drives a run that was begun with `stream=True` and
    yields its readings as they come; of any other run it yields the readings there are.

    Attributes:
        record: What was run: arguments, versions, state (`record.record` is typed).

    Example:
        >>> import assay
        >>> def brevity(prompts, completions, **columns):
        ...     return [-len(text) for text in completions]
        >>> model = getfixture("tiny_model")  # a folder, a model id, or an open model
        >>> run = assay.train("leave_one_out", model=model, prompts=["Hi", "Hello", "Hey"],
        ...                   rewards=brevity, gold=brevity, held_out=1, max_tokens=4,
        ...                   max_steps=2, eval_steps=1, quiet=True)
        >>> [reading["step"] for reading in run.readings][:3]
        [0, 1, 2]
        >>> run.best.chosen_by
        'gold'
    """

    def __init__(
        self,
        record: Record | MemoryRun,
        *,
        drive: Drive | None = None,
        readings: Iterator[Reading] | None = None,
        rebuild: Callable[[], World] | None = None,
    ):
        self.record = record
        self._drive, self._coming, self._rebuild = drive, readings, rebuild
        self._policies: dict[str, TrainedPolicy] = {}

    def __repr__(self) -> str:
        where = "in memory" if self.folder is None else repr(str(self.folder))
        read = [r for r in self.readings if r["tag"] != "best"]
        last = f", step {read[-1]['step']}" if read else ""
        died = [
            f"{w['kind']} since step {w['since']}" for w in causes(collapsed(self.record.about))
        ]
        signs = f"; training has died: {', '.join(died)}" if died else ""
        return f"<assay.Run {self.record.about['recipe']} {where}: {self.state}{last}{signs}>"

    def __iter__(self) -> Iterator[Reading]:
        # the one iterator itself: a loop that is left early does not end the run
        if self._coming is None or self.record.about["state"] == "done":
            return iter(self.readings)
        return self._coming

    @property
    def folder(self) -> Path | None:
        """The run's folder; None for a run in memory."""
        return self.record.folder

    @property
    def state(self) -> str:
        """running, done, interrupted, failed, waiting, or stopped: killed without a word."""
        begun = self._drive is None or self._drive.measurement is not None
        if isinstance(self.record, MemoryRun) or not begun:
            return str(self.record.about["state"])
        return state_of(self.record)

    @property
    def warnings(self) -> list[RunWarning]:
        """Signs that training had died, and numbers that were not finite, as the record has them.

        A dict each, with `kind`, `step`, `since`, `until`, `what` and `advice`. A sign whose
        `until` is None held at the last step: then training has died, which is what the command
        line's exit code 4 says. A number that was not finite (`kind` "nonfinite") names its
        `samples`.
        """
        return list(self.record.record.warnings)

    @property
    def readings(self) -> list[Reading]:
        """The readings so far: gold, proxy, kl and costs, each with its error; a dict each."""
        return self.record.readings()

    @property
    def completions(self) -> list[Any]:
        """Completions that were kept at the readings, with every score; a dict each."""
        return self.record.samples()

    @property
    def best(self) -> BestPolicy | None:
        """The best checkpoint: its step, the reason why it is this one, and its reading.

        What gold chose among many readings is read again at fresh completions, and that is the
        reading here. None before the first reading, and of a run in memory before its end.
        """
        if not self.readings or (self.folder is None and self.record.record.result is None):
            return None
        return best(self.record)

    def verify(self) -> list[Finding]:
        """Compare the run's files with the checksums that were written with them, and its inputs
        with what they were when it began: what `assay verify` prints.

        Returns:
            One finding a file: `file`, `wrong` ("" if it is what was written) and `note`; `inputs`
            counts those that are as they were. [] of a run in memory.
        """
        return [] if isinstance(self.record, MemoryRun) else findings(self.record.folder)

    @property
    def policy(self) -> TrainedPolicy:
        """The best checkpoint, see `best`."""
        return self._policy("best")

    @property
    def last_policy(self) -> TrainedPolicy:
        """The policy after the last step."""
        return self._policy("last")

    def to_pandas(self) -> Any:
        """The readings as a pandas DataFrame, a row each, one column a reward model and statistic.

        The row with the tag "best" is the second reading of the best checkpoint, at its own step.

        Raises:
            Missing: pandas is not installed.
        """
        need("pandas", "notebook", "to_pandas")
        import pandas

        rewards = self.record.about["rewards"]
        rows = []
        for r in self.readings:
            row = {k: v for k, v in r.items() if not isinstance(v, (dict, list)) and k != "watch"}
            scores = r["rewards"] or [None] * len(rewards)
            rows.append(
                {
                    **row,
                    **{f"rewards/{k}": v for k, v in zip(rewards, scores)},
                    **(r["stats"] or {}),
                }
            )
        return pandas.DataFrame(rows)

    def report(self, path: str | Path = "report.html", *, title: str = "") -> Path:
        """Write the run as one self-contained HTML page.

        Args:
            path: The file. A report of assay's is replaced, any other file is not.
            title: Its heading.

        Returns:
            The file.

        Raises:
            InputError: Another file is there, or nothing was read.
        """
        from assay.report import build
        from assay.report.ours import must_be_ours

        out = Path(path)
        must_be_ours(out, "<!doctype html>", "· assay</title>", "path")
        with self._on_disk() as folder:
            return build([folder], out, title=title)

    def _repr_html_(self) -> str:
        """The curve and the verdict, for a notebook."""
        from assay.api.notebook import run_html

        with self._on_disk() as folder:
            return run_html(self, folder)

    def _on_disk(self) -> _Folder:
        return _Folder(self.record)

    def _policy(self, which: str) -> TrainedPolicy:
        if which not in self._policies:
            with in_python():
                self._policies[which] = (
                    self._from_memory(which)
                    if isinstance(self.record, MemoryRun)
                    else self._from_folder(which, self.record)
                )
        return self._policies[which]

    def _from_memory(self, which: str) -> TrainedPolicy:
        measured = None if self._drive is None else self._drive.measurement
        if self._drive is None or measured is None:
            raise InputError("this run has made no step yet, so it has no policy")
        policy = measured.policy(best=which == "best")
        assert measured.result is not None  # or there would be no policy
        kept: Mapping[str, Any] = measured.result["best" if which == "best" else "last"]
        why = str(kept.get("reason", "it is the last policy"))
        found = BestPolicy(kept["step"], str(kept["tag"] or ""), why, "last", None, None)
        return self._trained(policy, self._drive.world, found)

    def _from_folder(self, which: str, record: Record) -> TrainedPolicy:
        found = find_policy(record, end=which == "last")
        world = self._drive.world if self._drive is not None else None
        if world is None:
            if self._rebuild is None:
                raise InputError(f"{record.folder} is a record alone; open it with assay.open_run")
            world = self._rebuild()
        return self._trained(load_policy(record, world, found), world, found)

    def _trained(self, policy: Any, world: World, found: BestPolicy) -> TrainedPolicy:
        about = card(self.record, found)
        return TrainedPolicy(policy, world, step=found.step, why=found.reason, card=about)


class _Folder:
    """A record's folder; for one in memory, a temporary folder until the block ends."""

    def __init__(self, record: Record | MemoryRun):
        self.record = record
        self._made: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Path:
        if isinstance(self.record, Record):
            return self.record.folder
        self._made = tempfile.TemporaryDirectory()
        name = str(self.record.about["recipe"] or "run")
        return self.record.write(Path(self._made.name) / name).folder

    def __exit__(self, *why: object) -> None:
        if self._made is not None:
            self._made.cleanup()
