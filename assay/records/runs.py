"""A run's folder: written line by line, survives a kill at any moment, read by people and programs.

`run.json` says what was run, `readings.jsonl` what was measured, `samples.jsonl` what the policies
wrote, one JSON object a line. schema.py says what stands in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from assay.engine.atomic import make_folder, write_bytes
from assay.engine.folder_lock import is_fresh
from assay.engine.os_errors import new_folder
from assay.errors import InputError
from assay.records import schema_1
from assay.records.checks import COMPLETIONS, READINGS, LineType, say_unknown
from assay.records.faults import fault
from assay.records.lines import decode, digest, encode, plain, read_lines, write_lines
from assay.records.provenance import now, provenance
from assay.records.schema import SCHEMA, CompletionRow, Reading, RunRecord, State
from assay.records.seals import line_digests, seal_of

__all__ = ["Run", "RunRecord", "digest", "plain", "provenance", "read_lines", "write_lines"]


class Run:
    """One run's folder. Reading never writes, so a run in progress can be read.

    Attributes:
        folder: Where it is.
        record: run.json.
        about: run.json as a dict of JSON values.

    Example:
        >>> run = Run.create(getfixture("tmp_path") / "run", RunRecord(recipe="mine"))
        >>> run.append({"step": 0, "gold": 1.5})
        >>> run.finish()
        >>> again = Run.open(run.folder)
        >>> again.record.state, again.readings()[0]["gold"]
        ('done', 1.5)
    """

    def __init__(self, folder: Path, record: RunRecord):
        self.folder = folder
        self._set(record)

    def _set(self, record: RunRecord) -> None:
        self.record = record
        self.about: dict[str, Any] = record.plain()

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.record.recipe}, {self.record.state})"

    @classmethod
    def create(cls, folder: Path | str, about: RunRecord | Mapping[str, Any]) -> Run:
        """Start a record.

        Args:
            folder: A new or an empty folder.
            about: What is run. `provenance()` and the time are added.

        Returns:
            The run, in state "running".

        Raises:
            InputError: The folder holds anything. A run is never overwritten.
            NotWritten: The system refuses the folder.
        """
        folder = Path(folder)
        cls.must_be_free(folder)
        with new_folder(folder):
            make_folder(folder)
            return cls.begin(folder, about)

    @staticmethod
    def must_be_free(folder: Path) -> None:
        """Raise InputError where a folder holds anything: a run is never overwritten."""
        if folder.exists() and not (folder.is_dir() and is_fresh(folder)):
            raise InputError(
                f"{folder} exists and is not an empty folder, and a run is never overwritten: "
                "give another folder, or go on with the run that is there with --resume"
            )

    @classmethod
    def begin(cls, folder: Path, about: RunRecord | Mapping[str, Any]) -> Run:
        """Write the first record into a folder that the caller holds; see `create`."""
        given = (
            about.model_dump(by_alias=True, exclude_unset=True)
            if isinstance(about, RunRecord)
            else dict(about)
        )
        run = cls(folder, RunRecord())
        run.note({**provenance(), "started": now(), **given, "schema": SCHEMA})
        return run

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Read a record.

        Args:
            folder: The run's folder.

        Returns:
            The run. Records of schema 1 are read under today's names, and not written to.

        Raises:
            InputError: There is no record, it is damaged, or a later assay wrote it.
        """
        path = Path(folder) / "run.json"
        if not path.is_file():
            raise InputError(f"{folder} is not a run: it has no run.json")
        cure = "restore it, or run again into another folder"
        about = decode(path.read_bytes(), str(path), cure)
        version = about.get("schema")
        if not isinstance(version, int) or not 1 <= version <= SCHEMA:
            raise InputError(
                f"{path} has schema {version!r} and this assay reads up to {SCHEMA}: "
                f"install the assay that wrote it ({about.get('assay') or 'version unknown'}) or "
                "a later one"
            )
        try:
            record = RunRecord.model_validate(schema_1.record(about) if version == 1 else about)
        except ValidationError as why:
            raise InputError(f"{path} has {fault(why)[1]}; {cure}") from why
        if record.unknown:
            say_unknown(tuple(record.unknown), str(path))
        return cls(Path(folder), record)

    def reload(self) -> None:
        """Read the record again; see `open`."""
        self._set(Run.open(self.folder).record)

    def note(self, more: Mapping[str, Any]) -> None:
        """Change entries of run.json, all at once.

        Args:
            more: Fields of RunRecord by name, with their new values.

        Raises:
            ValueError: A name is no field, or a value is not of its type: a slip of the writer.
            InputError: An earlier assay wrote the record.
        """
        self._writable()
        new = plain(more, "run.json")
        if new.get("state", "running") not in get_args(State):
            raise ValueError(
                f"state is {new['state']!r}; it is one of {', '.join(get_args(State))}"
            )
        try:
            record = RunRecord.model_validate({**self.about, **new})
        except ValidationError as why:
            raise ValueError(f"run.json has {fault(why)[1]}") from why
        odd = [k for k in new if k in record.unknown]
        if odd:
            raise ValueError(f"run.json has no entry named {odd[0]}")
        record = record.model_copy(update={"seal": seal_of(record.plain())})
        write_bytes(self.folder / "run.json", encode(record.plain(), indent=1))
        self._set(record)

    def finish(self, more: Mapping[str, Any] | None = None) -> None:
        """Close the record: `finished` is now, `state` is "done", and `files` are as they are.

        Args:
            more: What `note` takes; it may hold another state.
        """
        files = line_digests(self.folder)
        self.note({"finished": now(), "state": "done", "files": files, **(more or {})})

    def append(self, reading: Mapping[str, Any]) -> None:
        """Write one reading.

        Args:
            reading: Entries of Reading. What it leaves out was not measured: null.

        Raises:
            ValueError: A key is not Reading's; other numbers go into `stats`.
        """
        self._write(READINGS, [reading])

    def keep(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write completions, one line each.

        Args:
            rows: Entries of CompletionRow.
        """
        self._write(COMPLETIONS, rows)

    def readings(self) -> list[Reading]:
        """The lines of readings.jsonl in the order of writing; each is a Reading."""
        return self._read(READINGS)

    def samples(self) -> list[CompletionRow]:
        """The lines of samples.jsonl in the order of writing; each is a CompletionRow."""
        return self._read(COMPLETIONS)

    def cut(self, after_step: int) -> None:
        """Remove what a resumed run makes again.

        That is every line later than a step, and the second look at the best checkpoint, which is
        always made last. Labels are never cut: they were paid for.

        Args:
            after_step: The last step that stays.
        """
        self._writable()
        for kind in (READINGS, COMPLETIONS):
            path = self.folder / kind.file
            kept = [
                raw
                for raw, row in zip(read_lines(path), self._read(kind), strict=True)
                if row["step"] <= after_step and row["tag"] != "best"
            ]
            if path.exists():
                write_bytes(path, b"".join(encode(r) for r in kept))

    def _writable(self) -> None:
        if self.record.version != SCHEMA:
            raise InputError(
                f"{self.folder} has a record of schema {self.record.version}, which an earlier "
                f"assay wrote; {schema_1.CURE}"
            )

    def _write(self, kind: LineType[Any], rows: Iterable[Mapping[str, Any]]) -> None:
        """Append lines that are of their type."""
        self._writable()
        lines = [plain(kind.complete(row)) for row in rows]
        try:
            kind.checked(lines)
        except ValidationError as why:
            raise ValueError(f"a line of {kind.file} has {fault(why)[1]}") from why
        write_lines(self.folder / kind.file, lines)

    def _read(self, kind: LineType[Any]) -> list[Any]:
        return kind.read(self.folder, schema_1.line if self.record.version == 1 else None)
