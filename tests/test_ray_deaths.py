"""On Ray a run whose worker or node dies goes on elsewhere, and its files are as if none had."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs Ray: make ray")

from ray_nodes import SMALL_NODE, WORDS, nodes, same_runs, write_once
from test_cli_run import _elsewhere  # noqa: F401  (a fixture)

from assay import cli
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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_stopped_goes_on_by_the_same_command(how: signal.Signals) -> None:
    recipe = undisturbed("time.sleep(3600)")
    words = ["sweep", recipe, *WORDS, "--seeds", "0", "--out", "there", "--ray"]
    with nodes({"CPU": 1}) as made:
        command = [sys.executable, "-m", "assay", *words, made.address]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as sweeping:
            wait_for(Path("once"))
            sweeping.send_signal(how)
            said = sweeping.communicate(timeout=120)[1]
        if how != signal.SIGKILL:
            assert sweeping.returncode == 128 + how
            assert "stopped; the same command goes on with the sweep" in said
        assert cli.main([*words, made.address]) == 0
    assert [p.name for p in Path("there").iterdir()] == ["once"], "no mark of a sweep is left"
    assert same_runs(Path("whole"), Path("there")) == 1


def wait_for(path: Path) -> None:
    """Wait until a run has come so far as to write a file."""
    until = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < until, f"{path} was never written"
        time.sleep(0.1)
