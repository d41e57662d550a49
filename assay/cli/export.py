"""export: a run's policy for plain transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from assay.api import inputs
from assay.records.runs import Run


def export_(
    run: str, *, out: Path, which: Literal["best", "last"] = "best", json_: bool = False
) -> int:
    """Export a run's policy as a folder that transformers loads.

    Writes config.json, model.safetensors, the tokenizer where it has one, and a model card with the
    measured curve. Adapters are merged into the base.

    Args:
        run: The folder of one run.
        out: The folder to write.
        which: The best policy by gold (or what a watch kept), or the last. Where nothing told them
            apart, the last.
    """
    from assay.api import execution, orders
    from assay.cli import progress
    from assay.records import export

    found = Run.open(run)
    inputs.unchanged(found.about, run)
    export.find_policy(found, which)  # before the world is built, so that a refusal comes at once
    world = execution.Worlds(progress.working)(orders.of_record(found.about, run))
    folder = export.export(found, world, out, which=which)
    print(json.dumps({"folder": str(folder)}) if json_ else folder)
    return 0
