"""What a worker of Ray does for a sweep: it checks all trials, or runs one into its own folder.

Only JSON goes to a worker and comes back, so no object of a user is pickled. A trial may be begun
twice, after a death or where a part of the network was cut off: the run's folder says how far it
has come, and its lock lets one process write.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.api import execution
from assay.api.trials import Trial, checked_trials, failed, outcome
from assay.engine import memory
from assay.engine.folder_lock import is_held
from assay.engine.owner import LEASE
from assay.engine.threads import as_many
from assay.errors import InputError
from assay.records import own_code
from assay.records.provenance import provenance
from assay.registry import catalogue

WAIT = 2 * LEASE  # seconds that a trial waits for a copy of itself to end
SAME = ("torch", "transformers", "numpy")  # what readings depend on, beside assay


def versions() -> dict[str, str]:
    """The versions that have to be the same on every node."""
    here = provenance()
    return {"assay": here["assay"], **{k: v for k, v in here["versions"].items() if k in SAME}}


def check(text: str) -> str:
    """Check all trials of a sweep on the node of a worker.

    Args:
        text: JSON of the sweep, see `ray_sweep`.

    Returns:
        JSON: `states`, one a trial as `Trial` has them, or `refused`, a sentence.
    """
    asked = json.loads(text)
    try:
        _settle(asked)
        trials = checked_trials(_jobs(asked), execution.Worlds(), accept=asked["accept"])
    except InputError as why:
        return json.dumps({"refused": str(why)})
    return json.dumps({"states": [trial.state for trial in trials]})


def run(text: str) -> str:
    """Run one trial, from where its folder says that it has come.

    Args:
        text: JSON of a sweep of this trial alone, see `ray_sweep`.

    Returns:
        JSON: `outcome`, see `trials.outcome`, and `said`, lines about what went wrong.
    """
    asked, said = json.loads(text), list[str]()
    (job,) = asked["jobs"]
    try:
        _settle(asked)
        _wait_for_a_copy(Path(job["folder"]))
        with as_many(asked["threads"]):
            worlds = execution.Worlds()
            (trial,) = checked_trials(_jobs(asked), worlds, accept=asked["accept"])
            found = outcome(trial, lambda trial: _drive(trial, worlds), said.append)
    except InputError as why:  # this node differs, or its folder does
        found = failed(job["name"], Path(job["folder"]), str(why), said.append)
    return json.dumps({"outcome": found, "said": said})


def _settle(asked: Mapping[str, Any]) -> None:
    """Make this process like the one that sweeps.

    Raises:
        InputError: This node has other versions, or does not see the sweep's folders.
    """
    memory.keep()
    node, here = platform.node(), versions()
    for name, version in asked["versions"].items():
        if here.get(name) != version:
            raise InputError(
                f"node {node} has {name} {here.get(name)} and the sweep was started with "
                f"{version}: install the same on every node, since readings depend on it"
            )
    try:
        os.chdir(asked["cwd"])  # relative paths mean what they do where the sweep was started
    except OSError as why:
        raise InputError(
            f"node {node} has no folder {asked['cwd']}: start the sweep in a folder that every "
            "node sees under the same path"
        ) from why
    if not Path(asked["mark"]).exists():
        raise InputError(
            f"node {node} does not see {asked['out']} as the sweep does: --out has to be a folder "
            "that every node sees under the same path"
        )
    own_code.typed(*((job["recipe"], job["values"]) for job in asked["jobs"]))


def _jobs(asked: Mapping[str, Any]) -> list[tuple[Any, dict[str, Any], Path]]:
    return [
        (catalogue.find(job["recipe"], "recipe"), job["values"], Path(job["folder"]))
        for job in asked["jobs"]
    ]


def _wait_for_a_copy(folder: Path) -> None:
    """Wait while another process writes to the run's folder: a copy of this trial whose node was
    taken for dead. Whether it ends or is killed, this one goes on from there; if it lasts, the
    folder's lock refuses this one.
    """
    until = time.monotonic() + WAIT
    while folder.is_dir() and is_held(folder) and time.monotonic() < until:
        time.sleep(0.5)


def _drive(trial: Trial, worlds: execution.Worlds) -> None:
    begun = trial.state == "begun"
    world = worlds(trial.order, trial.folder if begun else None)
    drive = execution.Drive(trial.order, world, trial.folder, resume=begun)
    for _ in drive.readings():
        pass
