"""Deletes what a finished run needs no more, where a kill came before the run did so itself."""

from __future__ import annotations

import logging
from pathlib import Path

from assay.engine.folder_lock import only_writer
from assay.engine.parallel import rank
from assay.records.best import CARRY
from assay.records.runs import Run

log = logging.getLogger("assay")


def tidied(folder: Path) -> Run:
    """Open a run that is done, and delete the weights that its result does not name.

    A run first says in its record what stays and deletes the rest after that. A kill in between
    leaves the optimiser's state, which may be several times the model, and nothing else would ever
    delete it. Nothing is deleted while another process holds the folder.

    Args:
        folder: The folder of a run whose state is "done".
    """
    run = Run.open(folder)
    if rank() == 0:
        with only_writer(folder) as mine:
            if mine:
                _tidy(run)
    return run


def _tidy(run: Run) -> None:
    """The same of a folder that is held."""
    result = run.record.result
    if result is None:
        return
    stay = {run.folder / str(result[which]["file"]) for which in ("best", "last")}
    over = {run.folder / CARRY}
    if run.record.run.get("policies") is False:
        over |= {*run.folder.glob("policies/*.safetensors"), *run.folder.glob("kept-*.safetensors")}
    here = run.folder.resolve()
    try:
        for path in over - stay:
            if path.parent.resolve().is_relative_to(here):  # and not where a link leads
                path.unlink(missing_ok=True)
    except OSError as why:  # the run is whole with it, also on a disk that is locked
        log.info("%s holds weights that it needs no more: %s", run.folder, why)
