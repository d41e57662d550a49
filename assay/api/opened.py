"""`assay.open_run`: a run again, from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.api import execution, inputs, orders
from assay.api.run import Run
from assay.core import World
from assay.engine.quiet import quiet_libraries
from assay.records.runs import Run as Record


def open_run(
    folder: str | Path,
    *,
    model: Any = None,
    tokenizer: Any = None,
    trust_remote_code: bool = False,
) -> Run:
    """Open a run that is on disk, also one that is still running or that the command line made.

    Args:
        folder: The run's folder.
        model: The open model that the run began with, where it was trained from one. It is needed
            for `policy` alone.
        tokenizer: Its tokenizer.
        trust_remote_code: Run Python code that comes with the run's model (auto_map), and kernels
            that its settings name, where `policy` opens it.

    Returns:
        The run.

    Raises:
        InputError: The folder holds no run.

    Example:
        >>> import assay
        >>> folder = getfixture("tmp_path") / "run"
        >>> run = assay.train("leave_one_out", world="table", max_steps=2, out=folder, quiet=True)
        >>> assay.open_run(folder).readings == run.readings
        True
    """
    record = Record.open(folder)

    def rebuild() -> World:
        from assay.api.live import model_named
        from assay.api.weights import check_weights

        inputs.same_policy(record.about, str(folder))
        order = orders.of_policy(record.about, str(folder), trust=trust_remote_code)
        if model is not None:
            order.world_arguments["policy"] = model_named(model, tokenizer)
        with quiet_libraries(models=True):
            world = execution.Worlds()(order)
        check_weights(record.about, world, str(folder))
        return world

    return Run(record, rebuild=rebuild)
