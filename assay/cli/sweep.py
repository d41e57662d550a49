"""sweep: recipes over a grid, each run in its own folder; what is finished is skipped and what was
begun goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.api import flags, settings
from assay.api.flags import Flag
from assay.api.values import several, value
from assay.cli import run, screen
from assay.cli.endings import after_runs
from assay.cli.grammar import Grammar
from assay.cli.parsing import unknown
from assay.cli.verbs import Seen
from assay.engine import progress
from assay.errors import InputError
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
    ray: str = "",
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: float | None = None,
    max_retries: int | None = None,
    json_: bool = False,
    **given: Any,
) -> int:
    """Run recipes over a grid of settings and seeds.

    Each run has its own folder, OUT/recipe/name=value,…; finished ones are skipped and unfinished
    ones go on, so the same command may be given again after a stop. A run that fails does not stop
    the others; the exit code is then 1, and 4 where training has died in one.

    With --ray the runs are tasks of a Ray cluster, on all of its machines at once, and one whose
    worker or machine dies goes on elsewhere. Files and numbers are the same.

    Args:
        recipes: Recipes that `assay list` names, or paths of Python files.
        out: The folder of the runs' folders.
        over: What varies, NAME=VALUES: lam=0,.1,.5 or seed=0..4 (both ends included). May be given
            again for a grid; a name such as world.noise is a world's argument, and grpo.beta varies
            for one of the recipes alone.
        seeds: Seeds of the run and of the world alike, e.g. 0..9.
        accept_changes: Go on with unfinished runs though files that they began with have changed.
        ray: The Ray cluster that the runs are tasks of: HOST:PORT, auto for the one of this node,
            or local for one on this machine alone, while the sweep lasts.
        num_cpus: With --ray, the CPU cores of each run, 1 by default. It computes with as many
            threads.
        num_gpus: With --ray, the GPUs of each run, or a part of one, such as 0.5. By default 1
            where the cluster has GPUs and the run can use one.
        memory: With --ray, the GiB of memory that are reserved for each run; none by default.
        max_retries: With --ray, how often a run whose worker or machine died is tried again, 3 by
            default.

    Example:
        assay sweep grpo leave_one_out --world table --seeds 0..4 --out runs/sweep
        assay sweep grpo --over beta=0,.01,.1 --world table --out runs/beta
        assay sweep grpo --seeds 0..9 --out runs/seeds --ray local
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
    given_each = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "memory": memory,
        "max_retries": max_retries,
    }
    with progress.stage("starting"):
        from assay.api.grid import only_sweep
        from assay.api.ray_cluster import resources_of
        from assay.engine import parallel

        resources = resources_of(ray, given_each)
    with parallel.group(), only_sweep(out):
        if resources is not None:
            from assay.api.ray_sweep import run_on

            tell, say = screen.teller(True, json_), _complain
            # Ray prints deaths of workers to stdout, which is for the JSON alone
            with redirect_stdout(sys.stderr) if json_ else nullcontext():
                outcomes = run_on(
                    *(ray, jobs, out),
                    resources=resources,
                    accept=accept_changes,
                    tell=tell,
                    complain=say,
                )
        else:
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
    from assay.api import execution
    from assay.api.trials import Trial, checked_trials, line, outcome
    from assay.engine import parallel

    worlds = worlds or execution.Worlds()
    trials = checked_trials(jobs, worlds, accept=accept)
    tell = screen.teller(parallel.rank() == 0, quiet)

    def drive(trial: Trial) -> None:
        begun = trial.state == "begun"
        world = worlds(trial.order, trial.folder if begun else None)
        run.drive(trial.order, world, trial.folder, resume=begun, say=tell)

    outcomes: list[dict[str, Any]] = []
    for i, trial in enumerate(progress.over(trials, "runs", "runs"), 1):
        tell(line(i, len(trials), trial.folder, trial.state))
        outcomes.append(outcome(trial, drive, _complain))
    return outcomes


def _complain(text: str) -> None:
    print(text, file=sys.stderr)
