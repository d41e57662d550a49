"""`assay.sweep` with `ray`: its arguments as what the command line's sweep hands to Ray."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay.api.arguments import by_flag, in_python, pythonic
from assay.api.opened import open_run
from assay.api.orders import watch_of
from assay.api.ray_cluster import Resources
from assay.api.ray_sweep import run_on
from assay.api.recipes import recipe_entry
from assay.api.run import Run
from assay.api.train import OBJECTS
from assay.errors import InputError
from assay.safe_text import visible
from assay.watch.config import WatchConfig

_HERE = ("track", "project", "stream", "resume")  # arguments of one run in this process


def sweep_on_ray(
    address: str,
    jobs: Sequence[tuple[Any, Mapping[str, Any], Path]],
    out: Path,
    resources: Resources,
) -> list[Run]:
    """Run the jobs of `assay.sweep` as tasks of Ray.

    Args:
        address: The cluster.
        jobs: Recipe, arguments as in `train`, folder.
        out: The sweep's folder.
        resources: What each trial is given.

    Returns:
        The runs, in order.

    Raises:
        InputError: An argument is impossible or known to this program alone, or a trial failed
            before it had a record.
    """
    quiet = all(given.get("quiet") for _, given, _ in jobs)
    accept = all(given.get("accept_changes") for _, given, _ in jobs)

    def tell(text: str) -> None:
        if not quiet:
            print(visible(pythonic(text)))

    def complain(text: str) -> None:
        print(visible(pythonic(text)), file=sys.stderr)

    with in_python():
        sent = [(recipe_entry(r), _values(r, given), folder) for r, given, folder in jobs]
        outcomes = run_on(
            address, sent, out, resources=resources, accept=accept, tell=tell, complain=complain
        )
        for found in outcomes:
            if found["state"] == "failed" and not (Path(found["run"]) / "run.json").exists():
                raise InputError(f"{found['run']} failed: {found['reason']}")
    return [open_run(folder) for _, _, folder in jobs]


def _values(recipe: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `train` as values by flag name.

    Raises:
        InputError: One of them is for a run in this process.
    """
    for name in _HERE:
        if given.get(name):
            raise InputError(
                f"{name} is for runs in this process, and these are on Ray; leave it out"
                + ("; assay track sends a run's readings afterwards" if name == "track" else "")
            )
    plain = {k: v for k, v in given.items() if k not in (*_HERE, "quiet", "accept_changes")}
    watch = plain.pop("watch", None)
    objects = {k: plain.pop(k, None) for k in OBJECTS}
    objects["world"] = objects["world"] or ""
    watched = watch_of({"watch": asdict(watch)}) if isinstance(watch, WatchConfig) else {}
    if watch is not None and not watched:
        watched = {"watch": watch}
    return {**by_flag(recipe_entry(recipe), plain, **objects), **watched}
