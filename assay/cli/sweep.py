"""sweep: recipes over a grid, each run in its own folder; what is finished is skipped and what was
begun goes on.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.api import flags, settings
from assay.api.begun import check_loop, state
from assay.api.flags import Flag
from assay.api.values import several, value
from assay.cli import run, screen
from assay.cli.endings import after_runs
from assay.cli.grammar import Grammar
from assay.cli.parsing import unknown
from assay.cli.verbs import Seen
from assay.engine import progress
from assay.errors import Collapsed, InputError, NotFinite
from assay.records.runs import Run
from assay.registry import catalogue
from assay.registry.catalogue import Entry
from assay.safe_text import json_text

if TYPE_CHECKING:
    from assay.api.execution import Worlds


def sweep_(
    *recipes: str,
    out: Path | None = None,
    over: list[str] | None = None,
    seeds: str = "",
    accept_changes: bool = False,
    json_: bool = False,
    **given: Any,
) -> int:
    """Run recipes over a grid of settings and seeds.

    Each run has its own folder, OUT/recipe/name=value,…; finished ones are skipped and unfinished
    ones go on, so the same command may be given again after a stop. A run that fails does not stop
    the others; the exit code is then 1, and 4 where training has died in one.

    Args:
        recipes: Recipes that `assay list` names, or paths of Python files.
        out: The folder of the runs' folders.
        over: What varies, NAME=VALUES: lam=0,.1,.5 or seed=0..4 (both ends included). May be given
            again for a grid; a name such as world.noise is a world's argument, and grpo.beta varies
            for one of the recipes alone.
        seeds: Seeds of the run and of the world alike, e.g. 0..9.
        accept_changes: Go on with unfinished runs though files that they began with have changed.

    Example:
        assay sweep grpo leave_one_out --world table --seeds 0..4 --out runs/sweep
        assay sweep grpo --over beta=0,.01,.1 --world table --out runs/beta
    """
    if not recipes or out is None:
        missing = "--out, a folder for the runs' folders" if recipes else "a recipe, or several"
        raise InputError(f"assay sweep needs {missing}")
    if len(set(recipes)) < len(recipes):
        raise InputError("a recipe is named twice; --over seed=0..4 repeats a run with other seeds")
    base = settings.placed(given)
    numbers = [value(s, int, "--seeds") for s in several(seeds)] if seeds else []
    jobs = []
    entries = [catalogue.find(r) for r in recipes]
    names = {name for entry in entries for name in _known(entry, base)}
    for entry in entries:
        known = apart(_known(entry, base), names)
        what = f"{entry.name} in world {base.get('world') or settings.run()['world'].default}"
        for name in base:
            if name not in known:
                raise InputError(unknown(name, Grammar("sweep", known, what=what)))
        for setting in flags.grid(overs(over or [], entry.name, recipes), known, what):
            for seeded in flags.seeded(numbers, known, {**base, **setting}):
                where = flags.label({**setting, **{k: v for k, v in seeded.items() if k == "seed"}})
                jobs.append((entry, {**base, **setting, **seeded}, out / entry.name / where))
    with progress.stage("starting"):
        from assay.api.grid import only_sweep
        from assay.engine import parallel

    with parallel.group(), only_sweep(out):
        outcomes = run_all(jobs, quiet=json_, accept=accept_changes)
        if json_ and parallel.rank() == 0:
            print(json_text(outcomes))
        done = [Path(o["run"]) for o in outcomes if o["state"] == "done"]
        after_runs(out, done, as_json=json_)
    if any(o["state"] == "failed" for o in outcomes):
        return 1
    return 4 if any(o.get("died") for o in outcomes) else 0


def _known(entry: Entry, base: Mapping[str, Any]) -> dict[str, Flag]:
    if entry.verb != "recipe":
        raise InputError(f"{entry.name} is a {entry.verb}, and a sweep is of recipes")
    return settings.known(
        entry, base.get("world") or settings.run()["world"].default, base.get("fit", "")
    )


def grammar(base: Grammar, seen: Seen) -> Grammar:
    """The verb with every flag of `assay run` for the recipes that are typed."""
    found = [
        run.grammar(replace(base, flags={}), replace(seen, words=[word])) for word in seen.words
    ]
    found = found or [run.grammar(replace(base, flags={}), seen)]
    mine = {k: replace(f, group="Run") for k, f in base.flags.items()}
    merged = {**mine, **{k: f for g in reversed(found) for k, f in g.flags.items()}}
    hint = _a_grid(found[0].mistyped)
    return replace(found[0], flags=apart(merged, merged), mistyped=hint)


def apart(known: Mapping[str, Flag], names: Collection[str]) -> dict[str, Flag]:
    """Flags without those short names that are another recipe's own flag: with worst_case in a
    sweep, --members is its constant and the world's is --world.members.

    Args:
        known: The flags, by name.
        names: The names of all recipes' flags.
    """

    def free(short: str) -> bool:
        return short.lstrip("-").replace("-", "_") not in names

    return {
        k: replace(f, also=tuple(a for a in f.also if free(a))) if "." in k else f
        for k, f in known.items()
    }


def _a_grid(otherwise: Callable[[Flag, str], str]) -> Callable[[Flag, str], str]:
    """What was meant by several values of one flag."""

    def hint(flag: Flag, text: str) -> str:
        several_ = "," in text or ".." in text
        name = flag.shortest[2:].replace("-", "_")
        return f"; a grid is written --over {name}={text}" if several_ else otherwise(flag, text)

    return hint


def overs(given: Sequence[str], recipe: str, recipes: Sequence[str]) -> list[str]:
    """What varies for one recipe.

    An --over that begins with the name of one of the recipes is that one's alone.

    Args:
        given: Every --over, as in "beta=0.1,0.2" or "ppo.beta=0.1,0.2".
        recipe: The recipe.
        recipes: All recipes of the sweep.

    Returns:
        The recipe's own, without its name.
    """
    found = []
    for over in given:
        who, dot, _ = over.partition("=")[0].partition(".")
        if not dot or who not in recipes:
            found.append(over)
        elif who == recipe:
            found.append(over[len(who) + 1 :])
    return found


def run_all(
    jobs: Sequence[tuple[Entry, dict[str, Any], Path]],
    *,
    quiet: bool = False,
    worlds: Worlds | None = None,
    accept: bool = False,
) -> list[dict[str, Any]]:
    """Run every job in turn, with worlds shared; a job that fails is reported, and the next one
    begins.

    Args:
        jobs: Recipe, values by flag name, folder.
        quiet: Whether stdout is for JSON, so that lines go to stderr.
        worlds: Worlds that are built already.
        accept: Whether runs go on though their inputs have changed.

    Returns:
        For each job its folder, state, readings and reason of failure.
    """
    from assay.api import execution, inputs
    from assay.api.needs import check_needs
    from assay.api.orders import order as order_of
    from assay.engine import parallel

    orders = [(order_of(entry, values), folder) for entry, values, folder in jobs]
    for order, _ in orders:
        check_needs(order)
    before = {folder: state(folder, order) for order, folder in orders}
    for folder in (f for f, how in before.items() if how == "begun"):
        inputs.unchanged(Run.open(folder).about, str(folder), accept=accept)
    worlds = worlds or execution.Worlds()
    for order, folder in orders:
        if before[folder] == "done":  # what goes on is checked as it does
            check_loop(order, folder, worlds)
    parallel.barrier()  # no process makes a folder while another still looks
    tell = screen.teller(parallel.rank() == 0, quiet)
    for order, folder in orders:
        if before[folder] != "done":
            worlds.tried(order)  # a judge that fails would fail in every run
    outcomes: list[dict[str, Any]] = []
    for i, (order, folder) in enumerate(progress.over(orders, "runs", "runs"), 1):
        tell(
            f"{i} of {len(orders)}: {folder}"
            + {"done": ", finished before", "begun": ", goes on"}.get(before[folder], "")
        )
        reason = None
        if before[folder] != "done":
            try:
                begun = before[folder] == "begun"
                world = worlds(order, folder if begun else None)
                run.drive(order, world, folder, resume=begun, say=tell)
            except (Collapsed, InputError, NotFinite) as why:
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
