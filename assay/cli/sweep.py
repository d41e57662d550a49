"""sweep: recipes over a grid, each run in its own folder; what is finished is skipped and what was
begun goes on.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.cli import execution, flags
from assay.cli.flags import Flag
from assay.cli.run import among, must_be_free
from assay.engine import parallel
from assay.errors import InputError, NotFinite
from assay.records.runs import Run
from assay.registry import catalogue
from assay.registry.catalogue import Entry

HERE = {
    "out": Flag("out", str, None, "the folder of folders"),
    "over": Flag("over", str, None, "NAME=VALUES", many=True),
    "seeds": Flag("seeds", str, None, "0..9"),
    "json": Flag("json", bool, False, "print JSON"),
}


def sweep_(argv: list[str]) -> int:
    """assay sweep NAME… --over NAME=VALUES [--over …] [--seeds 0..9] --out FOLDER [any flag of
    assay run]

    VALUES are 0,.1,.5 or 0..4 (both ends are in); several --over make a grid. Each run has its own
    folder, FOLDER/recipe/name=value,…; finished ones are skipped and unfinished ones go on, so the
    same command may be given again after a stop. World arguments vary too: --over
    world.noise=0,.25. Exit 1 if a run failed; the others are run all the same.
    """
    words, given = flags.split(argv, ["json", "stop-on-nonfinite"])
    here = flags.parse([g for g in given if g[0] in HERE], HERE, "assay sweep")
    rest = [g for g in given if g[0] not in HERE]
    if not words or "out" not in here:
        raise InputError(
            "assay sweep needs "
            + ("--out, a folder for the runs' folders" if words else "a recipe, or several")
        )
    if len(set(words)) < len(words):
        raise InputError("a recipe is named twice; --over seed=0..4 repeats a run with other seeds")
    jobs = []
    for entry in [catalogue.find(w) for w in words]:
        if entry.verb != "recipe":
            raise InputError(f"{entry.name} is a {entry.verb}, and a sweep is of recipes")
        asked = execution.known(entry, among(rest, "world"), among(rest, "fit"))
        what = f"{entry.name} in world {among(rest, 'world')}"
        base = flags.parse(rest, asked, what)
        for setting in flags.grid(overs(here.get("over", []), entry.name, words), asked, what):
            for seeded in seeds(here.get("seeds"), asked, {**base, **setting}):
                where = label({**setting, **{k: v for k, v in seeded.items() if k == "seed"}})
                jobs.append(
                    (entry, {**base, **setting, **seeded}, Path(here["out"]) / entry.name / where)
                )
    with parallel.group():
        outcomes = run_all(jobs, quiet=bool(here.get("json")))
        if here.get("json") and parallel.rank() == 0:
            print(json.dumps(outcomes, ensure_ascii=False))
    return 1 if any(o["state"] == "failed" for o in outcomes) else 0


def overs(given: list[str], recipe: str, recipes: list[str]) -> list[str]:
    """What varies for one recipe: an --over that begins with the name of one of the recipes is that
    one's alone.
    """
    found = []
    for over in given:
        who, dot, _ = over.partition("=")[0].partition(".")
        if not dot or who not in recipes:
            found.append(over)
        elif who == recipe:
            found.append(over[len(who) + 1 :])
    return found


def seeds(
    given: str | None, asked: Mapping[str, Flag], setting: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The run's seed and the world's, alike, for each of --seeds; one empty setting where it is not
    given.
    """
    if given is None:
        return [{}]
    twice = next((k for k in ("seed", "world.seed") if k in setting), None)
    if twice:
        raise InputError(f"--seeds sets the run's seed and the world's; take --{twice} out")
    numbers = [flags.value(s, int, "--seeds") for s in flags.several(given)]
    return [{k: n for k in ("seed", "world.seed") if k in asked} for n in numbers]


def label(setting: Mapping[str, Any]) -> str:
    """A setting as a folder's name: lam=0.1,seed=2. Nothing in it can leave the folder it is in."""
    text = (
        ",".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in setting.items())
        or "run"
    )
    return re.sub(r"[^A-Za-z0-9_.,=+\[\]-]", "_", text)[:150]


def run_all(
    jobs: list[tuple[Entry, dict[str, Any], Path]],
    *,
    quiet: bool = False,
    worlds: execution.Worlds | None = None,
) -> list[dict[str, Any]]:
    """Every job in turn, worlds shared; a job that fails is told of, and the next one begins."""
    orders = [(execution.order(entry, values), folder) for entry, values, folder in jobs]
    before = {folder: state(folder, order) for order, folder in orders}
    parallel.barrier()  # nobody makes a folder while another still looks
    worlds = worlds or execution.Worlds()

    def tell(text: str) -> None:
        if parallel.rank() == 0:
            print(text, file=sys.stderr if quiet else sys.stdout, flush=True)

    outcomes: list[dict[str, Any]] = []
    for i, (order, folder) in enumerate(orders, 1):
        tell(
            f"{i} of {len(orders)}: {folder}"
            + {"done": ", finished before", "begun": ", goes on"}.get(before[folder], "")
        )
        reason = None
        if before[folder] != "done":
            try:
                world = worlds(order)
                execution.drive(order, world, folder, resume=before[folder] == "begun", say=tell)
            except (InputError, NotFinite) as why:
                reason = str(why)
            except Exception as why:
                traceback.print_exc()
                reason = f"{type(why).__name__}: {why}"
        if reason:
            print(f"assay: {folder} failed: {reason}", file=sys.stderr)
            outcomes.append(
                {
                    "run": str(folder),
                    "recipe": order.entry.name,
                    "state": "failed",
                    "reason": reason,
                }
            )
        else:
            outcomes.append({**execution.summary(Run.open(folder)), "reason": None})
    return outcomes


def state(folder: Path, order: execution.Order) -> str:
    """ "new", "begun" or "done". Raises InputError where a run of other arguments is there: it is
    never taken for this one.
    """
    if not (folder / "run.json").exists():
        must_be_free(folder)
        return "new"
    about = Run.open(folder).about
    there = (
        about["recipe"],
        about["arguments"],
        about["world"],
        about.get("fit"),
        {k: about["loop"][k] for k in order.loop},
    )
    here = json.loads(
        json.dumps(
            (
                order.entry.name,
                order.arguments,
                {"name": order.world, **order.world_arguments},
                {"name": order.fit, **order.fit_arguments} if order.fit else None,
                order.loop,
            )
        )
    )
    if list(there) != here:
        raise InputError(f"{folder} holds a run with other arguments; give another --out")
    return "done" if about["state"] == "done" else "begun"
