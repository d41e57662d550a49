"""The one process that writes a run: it holds the folder, and the record says how it ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from assay.engine.atomic import only_writer
from assay.errors import InputError, Waiting
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
    """
    alone = nullcontext(True) if run.folder is None else only_writer(run.folder)
    with alone as mine:
        if not mine:
            raise InputError(
                f"another process is writing to {run.folder}: wait until it has ended, or run into "
                "another folder"
            )
        if run.record.state != "running" or run.record.error:
            run.note({"state": "running", "error": None})
        try:
            yield
        except Waiting:
            _ended(run, {"state": "waiting"})
            raise
        except Exception as why:
            _ended(run, {"state": "failed", "error": f"{type(why).__name__}: {why}"})
            raise
        except BaseException:  # Ctrl-C, SIGTERM, exit, or a generator that is closed
            _ended(run, {"state": "interrupted"})
            raise


def _ended(run: Run | MemoryRun, how: Mapping[str, Any]) -> None:
    """Record how a run ended; a disk that is full must not hide why it ended."""
    try:
        run.note(how)
    except OSError as why:
        log.error("%s: the state '%s' cannot be recorded: %s", run.folder, how["state"], why)
