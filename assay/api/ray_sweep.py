"""A sweep whose trials are tasks of Ray, on as many machines as its cluster has.

Ray places a trial where its resources are, and tries it again where its worker or node has died;
the trial goes on from its own folder (`ray_trial.run`). Here is what Ray does not know: that every
trial is possible and fits on a node, and what has become of each.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.api import ray_trial
from assay.api.orders import has_device
from assay.api.ray_cluster import Resources, cluster, fits, must_fit, nodes
from assay.api.trials import Job, failed, line
from assay.engine import progress
from assay.engine.atomic import make_folder
from assay.engine.os_errors import writing_to
from assay.errors import InputError
from assay.registry import catalogue
from assay.registry.live import Live

_MARK = ".ray-"
_LOOK = 10.0  # seconds between looks at the nodes while no trial ends


def run_on(
    address: str,
    jobs: Sequence[Job],
    out: Path,
    *,
    resources: Resources,
    accept: bool = False,
    tell: Callable[[str], None],
    complain: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Run every job as a task of Ray; one that fails is reported, and the others go on.

    Args:
        address: The cluster, see `ray_cluster.cluster`.
        jobs: Recipe, values by flag name, folder.
        out: The sweep's folder, which every node sees.
        resources: What each trial is given.
        accept: Whether runs go on though their inputs have changed.
        tell: Is given a line for each trial that ends.
        complain: Is given what goes wrong, line by line.

    Returns:
        The jobs' outcomes in their order, see `trials.outcome`.

    Raises:
        InputError: A trial is impossible, or fits on no node; nothing has been run then.
        KeyboardInterrupt: It was interrupted. Workers end, and what they have saved stays.
    """
    sent = [_sent(*job) for job in jobs]
    try:
        with cluster(address, resources.max_retries) as ray, _marked(out) as mark:
            tasks = _Tasks(ray, _asked(out, mark, resources, accept), resources, complain)
            has = nodes(ray)
            gpus = any(node.get("GPU") for node in has)
            wanted = [
                resources.asked(gpus and _computes_elsewhere(values)) for _, values, _ in jobs
            ]
            for want in wanted:
                must_fit(want, has)
            states = tasks.checked(sent, wanted[0])
            begun = [tasks.begin(ray_trial.run, [s], w) for s, w in zip(sent, wanted, strict=True)]
            outcomes: list[dict[str, Any]] = [{} for _ in jobs]
            for i, found in progress.over(tasks.ended(begun, wanted), "runs", "runs", len(jobs)):
                entry, _, folder = jobs[i]
                for text in found.get("said", ()):
                    complain(text)
                if "outcome" not in found and "died" not in found:
                    found = _strange(found)
                outcomes[i] = found.get("outcome") or failed(
                    entry.name, folder, found["died"], complain
                )
                tell(f"{line(i + 1, len(jobs), folder, states[i])}: {outcomes[i]['state']}")
            return outcomes
    except KeyboardInterrupt as why:
        raise type(why)("the same command goes on with the sweep") from why


@dataclass(frozen=True)
class _Tasks:
    """Tasks of one sweep.

    Attributes:
        ray: The module, connected.
        asked: What every worker is told of the sweep.
        resources: What each trial is given.
        complain: Is given a line where trials wait in vain.
    """

    ray: Any
    asked: Mapping[str, Any]
    resources: Resources
    complain: Callable[[str], None]

    def begin(
        self, work: Callable[[str], str], jobs: Sequence[Any], want: Mapping[str, float]
    ) -> Any:
        """Hand a function and some jobs to Ray; it is called on a node that has what it wants."""
        task = self.ray.remote(work).options(
            num_cpus=want["CPU"],
            num_gpus=want["GPU"],
            memory=int(want["memory"]) or None,
            max_retries=self.resources.max_retries,  # deaths of workers and nodes
            retry_exceptions=False,  # an error would come again
        )
        return task.remote(json.dumps({**self.asked, "jobs": jobs}))

    def checked(self, jobs: Sequence[Any], want: Mapping[str, float]) -> list[str]:
        """The state of every trial before the sweep, found by a worker: it has what trials have.

        Raises:
            InputError: A trial is impossible, or no worker can check it.
        """
        with progress.stage("checking runs"):
            ((_, found),) = self.ended([self.begin(ray_trial.check, jobs, want)], [want])
        if "died" not in found and "refused" not in found:
            found = found if len(found.get("states", ())) == len(jobs) else _strange(found)
        if "died" in found:
            raise InputError(
                f"no worker of Ray could check the sweep ({found['died']}); every node needs the "
                "same assay, with the extra ray, and memory for a run"
            )
        if "refused" in found:
            raise InputError(found["refused"])
        return list(found["states"])

    def ended(
        self, tasks: Sequence[Any], wanted: Sequence[Mapping[str, float]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each task's number and reply as it ends."""
        left = {task: i for i, task in enumerate(tasks)}
        told = False
        while left:
            ready, _ = self.ray.wait(list(left), num_returns=1, timeout=_LOOK)
            if ready:
                yield left.pop(ready[0]), self._reply(ready[0])
            elif not told and any(not fits(wanted[i], nodes(self.ray)) for i in left.values()):
                told = True
                self.complain(
                    "assay: no node of the cluster has what a run asks for any more: what is left "
                    "waits until a node joins"
                )

    def _reply(self, task: Any) -> dict[str, Any]:
        """What a task has returned; `died` says why it has not."""
        try:
            return parsed(self.ray.get(task))
        except self.ray.exceptions.RayError as why:
            cause = getattr(why, "cause", None) or why
            first = (str(cause).strip().splitlines() or [""])[0]
            return {"died": f"{type(cause).__name__}: {first}"}


def parsed(reply: Any) -> dict[str, Any]:
    """A task's reply, as `ray_trial.check` and `run` give it.

    Args:
        reply: What Ray returned.

    Returns:
        The reply; `died` alone where it has another shape, as of another assay's worker.

    Example:
        >>> parsed('{"states": ["new"]}')
        {'states': ['new']}
        >>> print(parsed("[]")["died"])
        a worker's reply was not this assay's: []; install the same assay on every node
    """
    try:
        found = json.loads(reply)
    except (TypeError, ValueError):
        return _strange(reply)
    if not isinstance(found, dict):
        return _strange(found)
    outcome = found.get("outcome")
    whole = (
        isinstance(found.get("refused"), str)
        or _are_texts(found.get("states"))
        or (
            isinstance(outcome, dict)
            and all(isinstance(outcome.get(k), str) for k in ("run", "state"))
            and _are_texts(found.get("said"))
        )
    )
    return found if whole else _strange(found)


def _are_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(one, str) for one in found)


def _strange(reply: Any) -> dict[str, Any]:
    """What is said of a reply that is not understood."""
    said = " ".join(str(reply).split())[:80]
    return {
        "died": f"a worker's reply was not this assay's: {said}; install the same assay on every "
        "node"
    }


def _asked(out: Path, mark: str, resources: Resources, accept: bool) -> dict[str, Any]:
    """What every worker is told of the sweep."""
    return {
        "cwd": os.getcwd(),
        "out": str(out),
        "mark": mark,
        "versions": ray_trial.versions(),
        "threads": resources.threads,
        "accept": accept,
    }


def _sent(entry: Any, values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A job as JSON.

    Raises:
        InputError: Something of it is known to this program alone.
    """
    mine = {"recipe": entry.function, **values}
    for name, value in mine.items():
        several = value if isinstance(value, (list, tuple)) else [value]
        if any((isinstance(v, Live) and not v.found) or callable(v) for v in several):
            raise InputError(
                f"{name.removeprefix('world.')} is an object of this program, and a worker of Ray "
                "has files alone: pass FILE.py:name for a function, a folder for a model, and a "
                "file of rows"
            )
    own = entry.path.parent != catalogue.HOME / "recipes"
    return {
        "name": entry.name,
        "recipe": os.fspath(entry.path) if own else entry.name,
        "values": values,
        "folder": str(folder),
    }


def _computes_elsewhere(values: Mapping[str, Any]) -> bool:
    """Whether a run computes on a GPU where there is one."""
    make = catalogue.load_world(values["world"]) if values.get("world") else None
    return make is not None and has_device(make) and values.get("device", "auto") != "cpu"


@contextmanager
def _marked(out: Path) -> Iterator[str]:
    """A file in the sweep's folder that no other folder has, by which a node knows it."""
    with writing_to(out):
        made = make_folder(out)
        for old in out.glob(f"{_MARK}*"):  # a kill left it: no other sweep is in this folder
            old.unlink(missing_ok=True)
        mark = tempfile.NamedTemporaryFile(prefix=_MARK, dir=out)  # noqa: SIM115
    try:
        with mark:
            yield mark.name
    finally:
        for folder in made:
            with suppress(OSError):  # runs are in it
                folder.rmdir()
