"""study: a paper that yields findings instead of a policy. Its lines are JSON objects, kept in the
run's folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from assay.cli import execution
from assay.cli import run as running
from assay.cli.listing import verb_of
from assay.errors import InputError
from assay.records.runs import Run, digest, plain, read_lines, write_lines
from assay.registry.catalogue import HOME


def study_(argv: list[str]) -> int:
    """assay study NAME|./mine.py [--CONSTANT …] [--world NAME] [--world.ARGUMENT …] [--fit NAME]
    [--out FOLDER] [--json]

    A study is a function study(world, …) that yields dicts. Each is printed and written to FOLDER/lines.jsonl (default
    runs/NAME); FOLDER/run.json says what made them.
      --json            print one object when it is done: the folder, its state and all lines
    """
    entry, values, here = running.asked_for(argv)
    if entry.verb != "study":
        raise InputError(
            f"{entry.name} is a {entry.verb}: start it by assay {verb_of(entry)} {entry.name}"
        )
    if here.get("resume"):
        raise InputError(
            "a study is not resumed: it writes its lines as it finds them; give another --out"
        )
    idle = sorted(
        values.keys()
        & ((execution.LOOP.keys() | execution.RUN.keys()) - {"world", "fit", "device"})
    )
    if idle:
        raise InputError(
            f"--{idle[0].replace('_', '-')} is of runs, and {entry.name} is a study: it takes its "
            f"own constants, --world and --fit (assay show {entry.name})"
        )
    order = execution.order(entry, values)
    folder = Path(here["out"]) if "out" in here else running.free(Path("runs") / entry.name)
    running.must_be_free(folder)
    world = execution.Worlds()(order)
    mine = str(entry.path) if entry.path.parent != HOME / "recipes" else None
    named = (
        mine,
        order.world,
        order.fit,
        *order.world_arguments.values(),
        *order.arguments.values(),
    )
    run = Run.create(
        folder,
        {
            "recipe": entry.name,
            "verb": "study",
            "title": entry.title,
            "paper": entry.paper,
            "path": mine,
            "arguments": order.arguments,
            "loop": {},
            "seed": order.world_arguments.get("seed"),
            "world": {"name": order.world, **order.world_arguments},
            "fit": {"name": order.fit, **order.fit_arguments} if order.fit else None,
            "run": {},
            "golds": list(world.golds) if world.gold is not None else [],
            "gold_kind": world.gold_kind,
            **({} if getattr(world.task.reference, "replayable", True) else {"replayable": False}),
            "inputs": {
                v: digest(v) for v in named if isinstance(v, str) and v and Path(v).is_file()
            },
        },
    )
    try:
        for row in order.function(world, **order.arguments):
            write_lines(folder / "lines.jsonl", [row])
            print(
                json.dumps(plain(row), ensure_ascii=False),
                file=sys.stderr if here.get("json") else sys.stdout,
                flush=True,
            )
    except Exception as why:
        run.note({"state": "failed", "error": f"{type(why).__name__}: {why}"})
        if isinstance(why, InputError):
            execution.withdraw(folder)
        raise
    run.finish()
    if here.get("json"):
        print(
            json.dumps(
                {
                    "run": str(folder),
                    "recipe": entry.name,
                    "state": run.about["state"],
                    "lines": read_lines(folder / "lines.jsonl"),
                },
                ensure_ascii=False,
            )
        )
    else:
        print(folder, file=sys.stderr)
    return 0
