"""A sweep on a Ray cluster of several nodes is the sweep on one machine, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs Ray: make ray")

from ray_nodes import SMALL, WORDS, nodes, same_runs, without_times
from test_cli_run import MINE, _elsewhere  # noqa: F401  (a fixture)

import assay
from assay import cli
from assay.errors import InputError
from assay.records.runs import Run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with nodes({"CPU": 1}, {"CPU": 1}) as made:
        yield made.address


def test_the_same_bits_and_the_same_outcomes(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(MINE.replace("{act}", "if lam > 1: raise RuntimeError('too much')"))
    words = ["sweep", "./mine.py", *WORDS, "--seeds", "0..1", "--json"]
    words += ["--over", "lam=0.5,2"]
    assert cli.main([*words, "--out", "here"]) == 1
    here = json.loads(capsys.readouterr().out)
    assert cli.main([*words, "--out", "there", "--ray", address]) == 1
    out, err = capsys.readouterr()
    there = json.loads(out)
    assert without_times(there, "there") == without_times(here, "here")
    assert [o["state"] for o in there] == ["done", "done", "failed", "failed"]
    assert "Traceback" in err and "lam=2.0,seed=0 failed: RuntimeError: too much" in err
    assert same_runs(Path("here"), Path("there")) == 4
    assert [p.name for p in Path("there").iterdir() if p.name.startswith(".")] == []

    # a second command finds the done runs, and tries the others again, as it does without Ray
    capsys.readouterr()
    assert cli.main([*words, "--out", "there", "--ray", address]) == 1
    assert capsys.readouterr().err.count(", finished before: done") == 2
    assert cli.main([*words, "--out", "here"]) == 1
    assert same_runs(Path("here"), Path("there")) == 4


def test_what_was_begun_here_goes_on_there(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "leave_one_out", *WORDS, "--seeds", "0"]
    assert cli.main([*words, "--out", "whole"]) == 0
    run = ["run", "leave_one_out", *WORDS, "--seed", "0", "--world.seed", "0"]
    assert cli.main([*run, "--out", "part/leave_one_out/seed=0"]) == 0
    Run.open("part/leave_one_out/seed=0").note({"state": "running"})
    capsys.readouterr()
    assert cli.main([*words, "--out", "part", "--ray", address]) == 0
    assert "part/leave_one_out/seed=0, goes on: done" in capsys.readouterr().out
    assert same_runs(Path("whole"), Path("part")) == 1
    words[words.index("--max-steps") + 1] = "4"
    assert cli.main([*words, "--out", "part", "--ray", address]) == 2
    assert "holds a run with other arguments" in capsys.readouterr().err


def test_the_same_from_python(address: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {k.replace(".", "__"): v for k, v in SMALL.items()}
    recipes = {"leave_one_out": {}, "kl_in_loss": {"beta": [0.1]}}
    here = assay.sweep(recipes, out="here", quiet=True, **asked)
    there = assay.sweep(recipes, out="there", ray=address, num_cpus=1, quiet=True, **asked)
    assert [r.state for r in there] == ["done", "done"]
    assert [r.folder.name for r in there] == [r.folder.name for r in here]  # type: ignore[union-attr]
    assert same_runs(Path("here"), Path("there")) == 2
    with pytest.raises(InputError, match="rewards is an object of this program"):
        assay.sweep(
            "leave_one_out", out="x", ray=address, model="m", prompts="p.txt",
            rewards=lambda prompts, completions: [0.0] * len(completions),
        )  # fmt: skip
    assert not Path("x").exists()


def test_threads_are_the_cores_that_were_asked_for(address: str) -> None:
    with nodes({"CPU": 3}) as made:
        words = ["sweep", "leave_one_out", *WORDS, "--num-cpus", "3", "--ray", made.address]
        assert cli.main([*words, "--out", "s"]) == 0
    assert Run.open("s/leave_one_out/run").about["run"]["threads"] == 3
