"""track: a run's readings to the trackers that people look at."""

from __future__ import annotations

import json
import sys

from assay.cli import flags
from assay.cli.flags import Flag
from assay.errors import InputError
from assay.records import tracking
from assay.records.runs import Run


def track_(argv: list[str]) -> int:
    """assay track RUN --to tensorboard|trackio|wandb [--to …] [--project assay] [--json]

    Sends a run's readings: gold, kl, proxy, judges/NAME and the stats against the steps, and the
    run's arguments as its config. A reading that a tracker has had is not sent again; TensorBoard's
    files (RUN/tensorboard) are made anew. `assay run … --track NAME` sends them as they come.
    Trackers need their packages: pip install 'assay[tensorboard]', [trackio], [wandb]. Exit 1 if a
    reading did not arrive.
    """
    known = {
        "to": Flag("to", str, None, many=True),
        "project": Flag("project", str, "assay"),
        "json": Flag("json", bool, False),
    }
    words, given = flags.split(argv, ["json"])
    options = flags.parse(given, known, "assay track")
    if len(words) != 1 or "to" not in options:
        raise InputError(
            "assay track needs "
            + (
                f"--to, one of {', '.join(tracking.TRACKERS)}"
                if len(words) == 1
                else "the folder of one run"
            )
        )
    run = Run.open(words[0])
    found = tracking.export(run, options["to"], options.get("project", "assay"))
    if options.get("json"):
        print(json.dumps({"run": str(run.folder), "trackers": found}))
    else:
        for name, counts in found.items():
            print(
                f"{name}: {counts['sent']:,} readings sent"
                + (f", {counts['failed']:,} failed" if counts["failed"] else ""),
                file=sys.stdout,
            )
    return 1 if any(c["failed"] for c in found.values()) else 0
