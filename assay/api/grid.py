"""`assay.sweep`: recipes over a grid of settings and seeds."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from assay.api import flags
from assay.api.arguments import in_python, known_to
from assay.api.arguments import plain as as_plain
from assay.api.execution import Worlds
from assay.api.opened import open_run
from assay.api.ray_cluster import resources_of
from assay.api.recipes import recipe_entry
from assay.api.run import Run
from assay.api.train import checked
from assay.engine import parallel
from assay.engine.reserved import reserving
from assay.errors import Collapsed, InputError, NotFinite

log = logging.getLogger("assay")
Over = Mapping[str, Sequence[Any]]  # values by argument


def sweep(
    recipes: str | Path | Callable[..., Any] | Sequence[Any] | Mapping[str, Over],
    *,
    out: str | Path,
    over: Over | None = None,
    seeds: Iterable[int] = (),
    ray: str = "",
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: float | None = None,
    max_retries: int | None = None,
    **arguments: Any,
) -> list[Run]:
    """Run recipes over a grid of settings and seeds, each in a folder of its own.

    Finished runs are skipped and unfinished ones go on, so the same call may be made again after a
    stop. A run that fails is reported, and the next one begins.

    Args:
        recipes: A recipe or several, as in `train`; or a dict of each recipe's own grid.
        out: The folder of the runs' folders, OUT/recipe/name=value,….
        over: Values by argument: {"beta": [0, 0.04]} is two runs of each recipe.
        seeds: Seeds of the run, and in a world of assay's of the world too.
        ray: The Ray cluster that the runs are tasks of: HOST:PORT, auto, or local for one on this
            machine while the sweep lasts. What only this program has is refused: functions have to
            be of a file, models and rows in one.
        num_cpus: With `ray`, the CPU cores of each run, 1 by default; it computes with as many
            threads.
        num_gpus: With `ray`, the GPUs of each run, or a part of one. By default 1 where the cluster
            has GPUs and the run can use one.
        memory: With `ray`, the GiB of memory that are reserved for each run.
        max_retries: With `ray`, how often a run whose worker or machine died is tried again, 3 by
            default.
        arguments: As in `train`, the same for all runs.

    Returns:
        The runs, in order. A run that failed is among them; its `state` says so.

    Raises:
        InputError: A name is unknown or given twice, or a run of other arguments is in a folder;
            nothing has been run then.

    Example:
        >>> import assay
        >>> runs = assay.sweep(["leave_one_out"], out=getfixture("tmp_path"), seeds=range(2),
        ...                    world="table", max_steps=2, quiet=True)
        >>> [run.state for run in runs]
        ['done', 'done']
    """
    each: dict[Any, Over | None] = (
        dict(recipes)
        if isinstance(recipes, Mapping)
        else dict.fromkeys(
            [recipes] if isinstance(recipes, (str, Path)) or callable(recipes) else recipes
        )
    )
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise InputError(f"seeds is {seeds!r}; give several, such as range(5)")
    numbers = [as_plain(seed) for seed in seeds]
    jobs = []
    with in_python():
        for recipe, own in each.items():
            entry = recipe_entry(recipe)
            for setting in _grid({**(over or {}), **(own or {})}):
                known = known_to(entry, {**arguments, **setting})
                shown = flags.named(setting, known)
                typed = {**flags.named(arguments, known), **shown}
                for seeded in flags.seeded(numbers, known, typed):
                    seed = {k: v for k, v in seeded.items() if k == "seed"}
                    where = Path(out) / entry.name / flags.label({**shown, **seed})
                    jobs.append((recipe, {**arguments, **setting, **seeded}, where))
    given = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "memory": memory,
        "max_retries": max_retries,
    }
    with in_python():
        resources = resources_of(ray, given)
    with only_sweep(Path(out)):
        if resources is not None:
            from assay.api.grid_on_ray import sweep_on_ray

            return sweep_on_ray(ray, jobs, Path(out), resources)
        worlds = Worlds()
        begins = [
            (
                folder,
                checked(
                    recipe,
                    out=folder,
                    resume=(folder / "run.json").exists(),
                    swept=worlds,
                    **asked,
                ),
            )
            for recipe, asked, folder in jobs
        ]  # all of them before the first run
        return [_run(begin, folder, worlds) for folder, begin in begins]


def only_sweep(out: Path) -> AbstractContextManager[object]:
    """Let no other process start or go on with a sweep in a folder.

    Args:
        out: The sweep's folder; it need not exist.

    Returns:
        What holds it while its block runs. It raises InputError where another process has it.
    """
    return reserving(out) if parallel.rank() == 0 else nullcontext()


def _grid(over: Over) -> list[dict[str, Any]]:
    for name, values in over.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(f"over['{name}'] is {values!r}; give a list of values")
    varied = {name: [as_plain(v) for v in values] for name, values in over.items()}
    for name, values in varied.items():
        for lacking in (v for v in values if not _is_json(v)):
            raise InputError(
                f"over['{name}'] has a {type(lacking).__name__}, which cannot be part of a "
                "folder's name; give texts or numbers, or call sweep for each with its own out"
            )
    return [dict(zip(varied, one, strict=True)) for one in itertools.product(*varied.values())]


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _run(begin: Callable[[Worlds], Run], folder: Path, worlds: Worlds) -> Run:
    """One run of a sweep, begun, gone on with or opened."""
    try:
        for _ in begin(worlds):
            pass
    except Exception as why:
        if not (folder / "run.json").exists():
            raise
        expected = isinstance(why, (Collapsed, InputError, NotFinite))
        log.warning("%s failed: %s", folder, why, exc_info=not expected)
    return open_run(folder)
