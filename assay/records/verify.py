"""Whether a run's files are what assay wrote: content by checksums, and each by whose it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.engine import checkpoint
from assay.errors import InputError
from assay.records.best import CARRY, policies, state_of
from assay.records.checks import COMPLETIONS, LABELS, QUESTIONS, READINGS
from assay.records.runs import Run
from assay.records.seals import changed_lines, check_lines, check_seal
from assay.records.states import check_state


@dataclass(frozen=True)
class Finding:
    """What was found of one file.

    Attributes:
        file: Its name in the run's folder.
        wrong: What is wrong with it, in a sentence; "" if it is what was written.
        note: What was checked, or why nothing could be.
    """

    file: str
    wrong: str = ""
    note: str = ""


def may_go_on(folder: Path) -> None:
    """Check a run before it goes on; tensors are not read.

    Args:
        folder: The folder of a run that is not done.

    Raises:
        InputError: What it resumes from is of another run, the record or its lines were changed,
            or a link leads out of the folder.
    """
    for path in (*sorted(folder.iterdir()), *sorted(folder.glob("policies/*"))):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{path} is a link to {path.resolve()}, and a run that goes on writes and deletes "
                "files there; put the files themselves into the folder"
            )
    carry = folder / CARRY
    if carry.exists():
        said = check_state(folder, carry)
        check_lines(folder, said.get("files") or {})
    check_seal(Run.open(folder).about, folder)


def verify(folder: Path) -> list[Finding]:
    """Check every file that a run has written.

    Args:
        folder: The run's folder.

    Returns:
        One finding a file; the record first, and policies in the order of their steps.

    Raises:
        InputError: The folder holds no run.
    """
    run = Run.open(folder)
    return [_record(run), *_lines(run), *_states(run)]


def _record(run: Run) -> Finding:
    """Whether run.json is as it was written."""
    if run.record.seal is None:
        return Finding("run.json", note="has no seal: an earlier assay wrote it")
    try:
        check_seal(run.about, run.folder)
    except InputError as why:
        return Finding("run.json", str(why))
    return Finding("run.json", note=f"as it was written; {state_of(run)}")


def _lines(run: Run) -> Iterator[Finding]:
    """Whether the lines can be read, and are those that were there at the last save or the end."""
    known = dict(run.record.files)
    if not known and (run.folder / CARRY).exists():
        try:
            known = dict(checkpoint.about(run.folder / CARRY).get("files") or {})
        except InputError:
            known = {}  # the finding of the state says it
    wrong = changed_lines(run.folder, known)
    for kind in (READINGS, COMPLETIONS, LABELS, QUESTIONS):
        name = kind.file
        if name in wrong:
            yield Finding(name, f"{run.folder / name} {wrong[name]}")
            continue
        if not (run.folder / name).exists():
            continue
        try:
            n = len(kind.read(run.folder))  # type: ignore[attr-defined]
        except InputError as why:
            yield Finding(name, str(why))
            continue
        covered = name in known
        yield Finding(name, note=f"{n} lines, {_how_far(run, covered, name, known)}")


def _how_far(run: Run, covered: bool, name: str, known: Mapping[str, Any]) -> str:
    """How much of a file of lines a checksum covers."""
    if not covered:
        return "readable; no checksum yet"
    left = (run.folder / name).stat().st_size - known[name][0]
    return "as they were written" if not left else f"all but the last {left} bytes have a checksum"


def _by_step(path: Path) -> tuple[bool, int, str]:
    """Policies in the order of their steps, after the files that have names."""
    number = path.stem.partition("-")[0]
    step = int(number) if number.isdecimal() else -1
    return step >= 0, step, path.as_posix()


def _states(run: Run) -> Iterator[Finding]:
    """Whether policies and the carry are whole, and this run's."""
    named = {path: (step, tag) for (step, tag), path in policies(run).items()}
    carry = run.folder / CARRY
    if carry.exists():
        named.pop(carry, None)
    for path in sorted({*named, *run.folder.glob("*.safetensors")}, key=_by_step):
        name = path.relative_to(run.folder).as_posix()
        step, tag = named.get(path, (None, None))
        try:
            if not path.exists():
                raise InputError(f"{path} is gone, and the record names it")
            said = check_state(run.folder, path, step=step, tag=tag)
            checkpoint.load(path)
        except InputError as why:
            yield Finding(name, str(why))
            continue
        yield Finding(name, note=f"whole, of step {said.get('step')} of this run")
