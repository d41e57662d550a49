"""study: a paper that yields findings instead of a policy. Its lines are JSON objects, kept in the
run's folder.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.api import settings
from assay.api.flags import find
from assay.api.resuming import free, must_be_free
from assay.cli import run as running
from assay.cli.endings import ending
from assay.cli.grammar import Grammar
from assay.cli.listing import started_by
from assay.cli.verbs import Seen
from assay.engine.progress import over
from assay.engine.signals import sigterm_interrupts
from assay.errors import InputError
from assay.records.runs import Run, RunRecord, digest, plain, read_lines, write_lines
from assay.records.writing import writing
from assay.registry.catalogue import HOME
from assay.safe_text import json_text


def study_(
    study: str = "",
    *,
    out: Path | None = None,
    resume: bool = False,
    from_: str = "",
    json_: bool = False,
    **given: Any,
) -> int:
    """Run a study, a paper that yields findings and no policy.

    A study is a function study(world, …) that yields dicts. Each is printed and written to
    OUT/lines.jsonl; OUT/run.json records what made them. With --json one object is printed at the
    end: the folder, its state and all lines.

    Args:
        study: A study that `assay list` names, or the path of a Python file such as ./mine.py.
        out: The folder; runs/STUDY where it is not given.
        resume: Not for studies, which write their lines as they find them.
        from_: The folder of a study whose arguments are taken; flags given here go over them.

    Example:
        assay study best_of_n_theory --world table --world.testbed bandit --out runs/theory
        assay study label_noise --world table --json
    """
    if resume:
        raise InputError(
            "a study is not resumed: it writes its lines as it finds them; give another --out"
        )
    entry, values = running.asked_for(study, given, out, resume, from_)
    if entry.verb != "study":
        raise InputError(f"{entry.name} is a {entry.verb}: start it by {started_by(entry)}")
    idle = sorted(values.keys() & _of_runs())
    if idle:
        raise InputError(
            f"--{idle[0].replace('_', '-')} is of runs, and {entry.name} is a study: it takes "
            "its own "
            f"constants, --world and --fit (assay show {entry.name})"
        )
    from assay.api import execution, orders
    from assay.api.recording import withdraw
    from assay.evaluation.reading import described

    order = orders.order(entry, values)
    folder = free(Path("runs") / entry.name) if out is None else out
    must_be_free(folder)
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
        RunRecord(
            recipe=entry.name,
            verb="study",
            title=entry.title,
            paper=entry.paper,
            path=mine,
            arguments=plain(order.arguments),  # tuples too
            seed=order.world_arguments.get("seed"),
            world={"name": order.world, **order.world_arguments},
            fit={"name": order.fit, **order.fit_arguments} if order.fit else None,
            inputs={v: digest(v) for v in named if isinstance(v, str) and v and Path(v).is_file()},
            **described(world),
        ),
    )
    try:
        with sigterm_interrupts(), writing(run):
            for row in over(order.function(world, **order.arguments), entry.name, "lines"):
                write_lines(folder / "lines.jsonl", [row])
                print(
                    json_text(plain(row)),
                    file=sys.stderr if json_ else sys.stdout,
                    flush=True,
                )
            run.finish()
    except InputError:
        withdraw(folder)
        raise
    if json_:
        print(
            json_text(
                {
                    "run": str(folder),
                    "recipe": entry.name,
                    "state": run.about["state"],
                    "lines": read_lines(folder / "lines.jsonl"),
                },
            )
        )
    else:
        ending(("lines", str(folder / "lines.jsonl")), ("more", f"assay show {entry.name}"))
    return 0


def grammar(base: Grammar, seen: Seen) -> Grammar:
    """The verb with the flags of the study, the world and the fit that are typed, without those of
    runs alone.
    """
    found = running.grammar(base, seen)
    typed = {f.name for k in seen.flags if (f := find(k, found.flags))}  # refused by a sentence
    left = _of_runs() - typed
    return replace(found, flags={k: f for k, f in found.flags.items() if k not in left})


def _of_runs() -> set[str]:
    """The flags that a run takes and a study does not."""
    return {*settings.loop(), *settings.run()} - {"world", "fit", "device"}
