"""A run's record in memory, for runs without a folder; it can be written into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from assay.records.checks import READINGS
from assay.records.provenance import now, provenance
from assay.records.runs import Run
from assay.records.schema import SCHEMA, CompletionRow, Reading, RunRecord


class MemoryRun:
    """A record with the methods of `Run`, without a folder.

    Args:
        about: What is run. `provenance()` and the time are added.

    Attributes:
        folder: None.
        record: What run.json would hold.
        about: The same as a dict of JSON values.

    Example:
        >>> run = MemoryRun(RunRecord(recipe="mine"))
        >>> run.append({"step": 0, "gold": 1.5})
        >>> run.write(getfixture("tmp_path") / "run").readings()[0]["gold"]
        1.5
    """

    folder: Path | None = None

    def __init__(self, about: RunRecord):
        given = about.model_dump(by_alias=True, exclude_unset=True)
        self.about: dict[str, Any] = {}
        self._readings: list[Reading] = []
        self._samples: list[CompletionRow] = []
        self.note({**provenance(), "started": now(), **given, "schema": SCHEMA})

    def __repr__(self) -> str:
        return f"MemoryRun({self.record.recipe}, {self.record.state})"

    def note(self, more: Mapping[str, Any]) -> None:
        """Change entries of the record, see `Run.note`."""
        self.record = RunRecord.model_validate({**self.about, **more})
        self.about = self.record.plain()

    def finish(self, more: Mapping[str, Any] | None = None) -> None:
        """Close the record, see `Run.finish`."""
        self.note({"finished": now(), "state": "done", **(more or {})})

    def append(self, reading: Mapping[str, Any]) -> None:
        """Keep one reading, see `Run.append`."""
        self._readings.append(READINGS.complete(reading))  # type: ignore[arg-type]

    def keep(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep completions, see `Run.keep`."""
        self._samples += list(rows)  # type: ignore[arg-type]

    def readings(self) -> list[Reading]:
        """The readings in the order of their making."""
        return list(self._readings)

    def samples(self) -> list[CompletionRow]:
        """The completions in the order of their making."""
        return list(self._samples)

    def cut(self, after_step: int) -> None:
        """Remove what a resumed run makes again, see `Run.cut`; a run in memory has nothing."""

    def write(self, folder: Path | str) -> Run:
        """Write the record into a folder.

        Policies are not part of it.

        Args:
            folder: A new or an empty folder.

        Returns:
            The run in the folder.

        Raises:
            InputError: The folder holds anything.
        """
        run = Run.create(folder, self.about)
        run.keep(self._samples)
        for reading in self._readings:
            run.append(reading)
        return run
