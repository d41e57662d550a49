"""What a worker of Ray does with a trial, called here without Ray."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import SMALL, WORDS
from test_cli_run import _elsewhere  # noqa: F401  (a fixture)

from assay import cli
from assay.api import ray_trial
from assay.engine.folder_lock import hold
from assay.records.runs import Run


def test_two_copies_never_write_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a part of the network was cut off: another process holds the run's folder."""
    monkeypatch.setattr(ray_trial, "WAIT", 1.0)
    assert cli.main(["sweep", "leave_one_out", *WORDS, "--seeds", "0", "--out", "s"]) == 0
    Run.open("s/leave_one_out/seed=0").note({"state": "running"})
    before = Path("s/leave_one_out/seed=0/readings.jsonl").read_bytes()
    asked = asking("s", "leave_one_out")
    held = hold(Path("s/leave_one_out/seed=0"))
    assert held is not None
    reply = json.loads(ray_trial.run(json.dumps(asked)))
    assert reply["outcome"]["state"] == "failed"
    assert f"process {os.getpid()} on " in reply["outcome"]["reason"]
    assert Path("s/leave_one_out/seed=0/readings.jsonl").read_bytes() == before
    threading.Timer(8, held.release).start()
    monkeypatch.setattr(ray_trial, "WAIT", 60.0)
    reply = json.loads(ray_trial.run(json.dumps(asked)))
    assert reply["outcome"]["state"] == "done", "the other copy has ended"


def asking(out: str, recipe: str) -> dict[str, Any]:
    """What a sweep of one trial sends."""
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
    Path("s").mkdir()
    asked = {**asking("s", "leave_one_out"), **change}
    refused = json.loads(ray_trial.check(json.dumps(asked)))["refused"]
    assert re.search(sentence, refused) and refused.startswith("node ")
    reply = json.loads(ray_trial.run(json.dumps(asked)))
    assert reply["outcome"]["reason"] == refused
    assert not Path("s/leave_one_out").exists(), "nothing was run"
