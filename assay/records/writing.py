"""The one process that writes a run: it holds the folder, and the record says how it ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from assay.engine.folder_lock import only_writer
from assay.engine.leftovers import forget_below
from assay.engine.os_errors import not_written
from assay.engine.owner import held_by
from assay.errors import InputError, NotWritten, Waiting
from assay.records.best import again
from assay.records.memory import MemoryRun
from assay.records.runs import Run

log = logging.getLogger("assay")


@contextmanager
def writing(run: Run | MemoryRun) -> Iterator[None]:
    """Hold a run's folder while the block runs, and record how the block ends.

    The state is "running" within. Where the block raises, it is "interrupted" (Ctrl-C, SIGTERM, or
    a reader that stops reading), "waiting" (for labels) or "failed" (with the error). A block that
    ends by itself has closed the record.

    Args:
        run: The run.

    Raises:
        InputError: Another process is writing to the folder.
        NotWritten: The block could not write; the sentence says how the run goes on.
    """
    alone = nullcontext(True) if run.folder is None else only_writer(run.folder)
    with alone as mine:
        if not mine and run.folder is not None:
            raise InputError(
                f"{held_by(run.folder)} is writing to {run.folder}: wait until it has ended, or "
                "run into another folder"
            )
        if isinstance(run, Run):
            _as_it_is(run)
        try:
            if run.folder is not None:
                forget_below(run.folder)
            if run.record.state != "running" or run.record.error:
                run.note({"state": "running", "error": None})
            yield
        except Waiting:
            _ended(run, {"state": "waiting"})
            raise
        except Exception as why:
            refused = not_written(why)
            said = why if refused is None else refused
            _ended(run, {"state": "failed", "error": f"{type(said).__name__}: {said}"}, refused)
            if refused is None:
                raise
            raise _goes_on(refused, run) from (refused.__cause__ or why)
        except BaseException:  # Ctrl-C, SIGTERM, exit, or a generator that is closed
            _ended(run, {"state": "interrupted"})
            raise


def _as_it_is(run: Run) -> None:
    """Read a record again: another process may have gone on with the run before it was held.

    Raises:
        InputError: It has, and the run ended there in another state.
    """
    before = run.record.state
    run.reload()
    if run.record.state != before:
        raise InputError(
            f"another process went on with {run.folder} meanwhile, and the run is "
            f"{run.record.state} now: {again(run)} goes on from there"
        )


def _goes_on(refused: NotWritten, run: Run | MemoryRun) -> NotWritten:
    """The same refusal, with the command that goes on with the run."""
    if not isinstance(run, Run) or run.record.verb not in (None, "recipe"):
        return refused
    said = NotWritten(f"{refused}; then go on with: {again(run)}")
    said.errno, said.filename = refused.errno, refused.filename
    return said


def _ended(run: Run | MemoryRun, how: Mapping[str, Any], refused: NotWritten | None = None) -> None:
    """Record how a run ended; a disk that is full must not hide why it ended.

    Args:
        run: The run.
        how: Its state, and its error.
        refused: What the disk refused, where that ended the run: it is said once.
    """
    try:
        run.note(how)
    except OSError as why:
        known = refused is not None and refused.errno == why.errno
        level = logging.INFO if known else logging.ERROR
        log.log(level, "%s: the state '%s' cannot be recorded: %s", run.folder, how["state"], why)
