"""export: a run's policy for plain transformers."""

from __future__ import annotations

import json
from pathlib import Path

from assay.cli import execution, flags, inputs
from assay.cli.flags import Flag
from assay.errors import InputError
from assay.records import export
from assay.records.runs import Run
from assay.registry import catalogue


def export_(argv: list[str]) -> int:
    """assay export RUN --out FOLDER [--which best|last] [--json]

    Writes the run's policy as transformers loads it (config.json, model.safetensors, the tokenizer
    where it has one; adapters are merged into the base) with a model card that holds the measured
    curve. best: by gold, or what a watch kept; where nothing told them apart, the last one.
    """
    known = {
        "out": Flag("out"),
        "which": Flag("which", str, "best"),
        "json": Flag("json", bool, False),
    }
    words, given = flags.split(argv, ["json"])
    options = flags.parse(given, known, "assay export")
    if len(words) != 1 or "out" not in options:
        raise InputError(
            "assay export needs "
            + ("--out, the folder to write" if len(words) == 1 else "the folder of one run")
        )
    run = Run.open(words[0])
    entry = catalogue.find(run.about.get("path") or run.about["recipe"])
    inputs.unchanged(run.about, words[0])
    export.chosen(
        run, options.get("which", "best")
    )  # before the world is built, so that nobody waits for a refusal
    world = execution.Worlds()(
        execution.order(entry, execution.recorded(run.about, entry, words[0]))
    )
    folder = export.export(run, world, Path(options["out"]), which=options.get("which", "best"))
    print(json.dumps({"folder": str(folder)}) if options.get("json") else folder)
    return 0
