"""study: a paper that yields findings instead of a policy. Its lines are JSON objects, kept in the run's folder."""
from __future__ import annotations

import json
import sys
from pathlib import Path

from assay.cli import driving, running
from assay.cli.listing import verb_of
from assay.errors import InputError
from assay.runs import Run, write_lines


def study_(argv: list[str]) -> int:
    """assay study NAME|./mine.py [--CONSTANT …] [--world NAME] [--world.ARGUMENT …] [--out FOLDER] [--json]

    A study is a function study(world, …) that yields dicts. Each is printed and written to FOLDER/lines.jsonl
    (default runs/NAME).
    """
    entry, values, here = running.asked_for(argv)
    if entry.verb != "study":
        raise InputError(f"{entry.name} is a {entry.verb}: start it by assay {verb_of(entry)} {entry.name}")
    order = driving.order(entry, values)
    folder = Path(here["out"]) if "out" in here else running.free(Path("runs") / entry.name)
    running.must_be_free(folder)
    world = driving.Worlds()(order)
    run = Run.create(folder, {"recipe": entry.name, "verb": "study", "title": entry.title, "paper": entry.paper,
                              "arguments": order.arguments, "loop": order.loop, "seed": None,
                              "world": {"name": order.world, **order.world_arguments}, "fit": None, "run": order.settings})
    try:
        for row in order.function(world, **order.arguments):
            write_lines(folder / "lines.jsonl", [row])
            print(json.dumps(row, ensure_ascii=False), flush=True)
    except Exception as why:
        run.note({"state": "failed", "error": f"{type(why).__name__}: {why}"})
        raise
    run.finish()
    print(folder, file=sys.stderr)
    return 0
