"""On Ray a run whose worker or node dies goes on elsewhere, and its files are as if none had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs Ray: make ray")

from ray_nodes import SMALL_NODE, WORDS, nodes, same_runs, write_once
from test_cli_run import _elsewhere  # noqa: F401  (a fixture)

from assay import cli
from assay.api import ray_trial
from assay.engine.folder_lock import hold
from assay.records.runs import Run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def sweep(out: str, recipe: str, *more: str) -> int:
    return cli.main(["sweep", recipe, *WORDS, "--seeds", "0", "--out", out, *more])


def undisturbed(act: str) -> str:
    """A recipe that will meet misfortune, and its sweep in `whole` that met none."""
    recipe = write_once(act)
    Path("once").touch()
    assert sweep("whole", recipe) == 0
    Path("once").unlink()
    return recipe


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_worker_that_is_killed_in_mid_trial(how: str) -> None:
    recipe = undisturbed(f"os.kill(os.getpid(), signal.{how}); time.sleep(60)")
    with nodes({"CPU": 1}, {"CPU": 1}) as made:
        assert sweep("there", recipe, "--ray", made.address) == 0
    assert Path("once").read_text().isdecimal(), "it was killed"
    assert same_runs(Path("whole"), Path("there")) == 1


def test_a_worker_that_dies_each_time_is_a_failed_run(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_once("once.unlink(); os.kill(os.getpid(), signal.SIGKILL)", step=0)
    with nodes({"CPU": 1}) as made:
        assert sweep("s", recipe, "--ray", made.address, "--max-retries", "1", "--json") == 1
    out = capsys.readouterr().out
    (found,) = json.loads(out)
    assert found["state"] == "failed" and "WorkerCrashedError" in found["reason"]
    assert Run.open("s/once/seed=0").about["state"] == "running", "it can be gone on with"
    Path("once").touch()
    assert sweep("s", recipe) == 0, "here, without Ray"


def test_a_node_that_is_lost() -> None:
    recipe = undisturbed("time.sleep(3600)")
    words = ["sweep", recipe, *WORDS, "--seeds", "0", "--out", "there", "--ray"]
    with nodes({"CPU": 0}, {"CPU": 1}) as made:
        command = [sys.executable, "-m", "assay", *words, made.address]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as sweeping:
            wait_for(Path("once"))
            made.remove_node(made.workers[0], allow_graceful=False)
            assert sweeping.stderr is not None
            said = next(line for line in sweeping.stderr if "no node" in line)
            made.add_node(num_cpus=1, **SMALL_NODE)
            assert sweeping.wait(timeout=300) == 0
    assert "what is left waits until a node joins" in said
    assert same_runs(Path("whole"), Path("there")) == 1


def test_a_sweep_that_is_killed_goes_on_by_the_same_command() -> None:
    recipe = undisturbed("time.sleep(3600)")
    words = ["sweep", recipe, *WORDS, "--seeds", "0", "--out", "there", "--ray"]
    with nodes({"CPU": 1}) as made:
        command = [sys.executable, "-m", "assay", *words, made.address]
        with subprocess.Popen(command) as sweeping:
            wait_for(Path("once"))
            sweeping.kill()
        assert cli.main([*words, made.address]) == 0
    assert same_runs(Path("whole"), Path("there")) == 1


def wait_for(path: Path) -> None:
    """Wait until a run has come so far as to write a file."""
    until = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < until, f"{path} was never written"
        time.sleep(0.1)


def test_two_copies_never_write_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a part of the network was cut off: another process holds the run's folder."""
    monkeypatch.setattr(ray_trial, "WAIT", 1.0)
    assert sweep("s", "leave_one_out") == 0
    Run.open("s/leave_one_out/seed=0").note({"state": "running"})
    before = Path("s/leave_one_out/seed=0/readings.jsonl").read_bytes()
    asked = asking("s", "leave_one_out")
    held = hold(Path("s/leave_one_out/seed=0"))
    assert held is not None
    reply = json.loads(ray_trial.run(json.dumps(asked)))
    assert reply["outcome"]["state"] == "failed"
    assert f"process {os.getpid()} on " in reply["outcome"]["reason"]
    assert Path("s/leave_one_out/seed=0/readings.jsonl").read_bytes() == before
    threading.Timer(0.5, held.release).start()
    monkeypatch.setattr(ray_trial, "WAIT", 60.0)
    reply = json.loads(ray_trial.run(json.dumps(asked)))
    assert reply["outcome"]["state"] == "done", "the other copy has ended"


def asking(out: str, recipe: str) -> dict[str, Any]:
    """What a sweep of one trial sends."""
    from ray_nodes import SMALL

    mark = Path(out) / "mark"
    mark.touch()
    values = {**SMALL, "seed": 0, "world.seed": 0}
    job = {"name": recipe, "recipe": recipe, "values": values, "folder": f"{out}/{recipe}/seed=0"}
    return {
        "cwd": os.getcwd(),
        "out": out,
        "mark": str(mark.absolute()),
        "versions": ray_trial.versions(),
        "threads": 1,
        "accept": False,
        "jobs": [job],
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"versions": {"torch": "1.0"}}, "has torch .* and the sweep was started with 1.0"),
        ({"mark": "/nowhere/.ray-1"}, "does not see s as the sweep does"),
        ({"cwd": "/nowhere/at/all"}, "has no folder /nowhere/at/all"),
    ],
)
def test_a_node_that_differs_is_named(change: dict[str, Any], sentence: str) -> None:
    import re

    Path("s").mkdir()
    asked = {**asking("s", "leave_one_out"), **change}
    refused = json.loads(ray_trial.check(json.dumps(asked)))["refused"]
    assert re.search(sentence, refused) and refused.startswith("node ")
    reply = json.loads(ray_trial.run(json.dumps(asked)))
    assert reply["outcome"]["reason"] == refused
    assert not Path("s/leave_one_out").exists(), "nothing was run"
