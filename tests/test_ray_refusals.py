"""What a sweep on Ray refuses, at once and in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_cli_run import SMALL, _elsewhere, refused  # noqa: F401  (a fixture)

from assay import cli
from assay.api import ray_cluster, ray_sweep, ray_trial
from assay.api.ray_cluster import Resources, fits, must_fit
from assay.errors import InputError, Missing
from assay.registry import extras

NODES = [{"CPU": 8.0, "memory": 64.0 * 2**30}, {"CPU": 2.0, "GPU": 1.0, "memory": 8.0 * 2**30}]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--num-gpus", "1"], "--num-gpus is what a task of Ray is given"),
        (["--ray", "local", "--num-cpus", "-1"], "--num-cpus is -1.0; give a number of at least"),
        (["--ray", "local", "--num-gpus", "1.5"], "Ray gives out whole GPUs"),
        (["--ray", "ray://host:10001"], "start the sweep on one of its nodes"),
        (["--ray", "somewhere"], "--ray is 'somewhere'; give HOST:PORT"),
        (["--ray", "127.0.0.1:1"], "no cluster answers there"),
    ],
)
def test_wrong_words_are_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--ray" in words:
        pytest.importorskip("ray", reason="needs Ray: make ray")
    said = refused(capsys, "sweep", "leave_one_out", *SMALL, "--out", "s", *words)
    assert sentence in said
    assert not Path("s").exists()


def test_without_ray_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"--ray needs ray, .*pip install '\.\[ray\]'"):
        ray_cluster.cluster("local", 3).__enter__()


def test_processes_of_a_launcher_start_no_cluster_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "need", lambda *_: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="leave out torchrun"):
        ray_cluster.cluster("local", 3).__enter__()


@pytest.mark.parametrize(
    ("asked", "holds"),
    [
        (Resources(num_cpus=8), True),
        (Resources(num_cpus=9), False),  # two nodes have ten, and a trial is on one
        (Resources(num_cpus=2, num_gpus=0.5), True),
        (Resources(num_cpus=4, num_gpus=1), False),  # no node has both
        (Resources(memory=60), True),
        (Resources(memory=65), False),
        (Resources(num_cpus=0), True),
    ],
)
def test_a_trial_has_to_fit_on_one_node(asked: Resources, holds: bool) -> None:
    want = asked.asked(gpu=False)
    assert fits(want, NODES) is holds
    if not holds:
        with pytest.raises(InputError, match=r"nodes have 2 CPU, 1 GPU, 8\.0 GiB; 8 CPU, 0 GPU"):
            must_fit(want, NODES)


def test_a_gpu_is_the_default_where_one_can_be_used() -> None:
    assert Resources().asked(gpu=True)["GPU"] == 1.0
    assert Resources().asked(gpu=False)["GPU"] == 0.0
    assert Resources(num_gpus=0).asked(gpu=True)["GPU"] == 0.0


OUTCOME = {"run": "s/a", "recipe": "a", "state": "done", "reason": None}


@pytest.mark.parametrize(
    "reply",
    [
        {"states": ["new", "done"]},
        {"refused": "it cannot be"},
        {"outcome": OUTCOME, "said": ["a line"]},
    ],
)
def test_a_reply_of_this_assay_is_taken(reply: dict[str, Any]) -> None:
    assert ray_sweep.parsed(json.dumps(reply)) == reply


@pytest.mark.parametrize(
    "reply",
    [None, "", "not JSON", "[]", "3", "{}", '{"states": "new"}', '{"states": [1]}',
     '{"outcome": {}, "said": []}', '{"outcome": {"state": "done"}, "said": []}',
     json.dumps({"outcome": OUTCOME}), json.dumps({"outcome": OUTCOME, "said": "a line"})],
)  # fmt: skip
def test_a_reply_of_another_shape_is_one_sentence(reply: Any) -> None:
    (said,) = ray_sweep.parsed(reply).values()
    assert said.startswith("a worker's reply was not this assay's: ")
    assert said.endswith("; install the same assay on every node")


@pytest.mark.filterwarnings("ignore")  # Ray leaves processes of its own without a wait
@pytest.mark.parametrize(("verb", "code"), [("check", 2), ("run", 1)])
def test_a_live_worker_that_replies_otherwise_fails_no_program(
    verb: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="needs Ray: make ray")
    monkeypatch.setattr(ray_trial, verb, lambda text: '{"states": []}')
    words = ["sweep", "leave_one_out", *SMALL, "--out", "s", "--seeds", "0", "--ray", "local"]
    assert cli.main(words) == code
    said = capsys.readouterr().err
    assert "a worker's reply was not this assay's: {'states': []}; install the same" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("address", "said"),
    [("local", "when the machine is less busy, or leave --ray out"), ("auto", "ray start --head")],
)
def test_a_ray_that_does_not_start_is_one_sentence(
    address: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a machine that is too busy: Ray raises no class of its own there."""
    ray = pytest.importorskip("ray", reason="needs Ray: make ray")

    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen.\nmore")

    monkeypatch.setattr(ray, "init", late)
    found = refused(capsys, "sweep", "leave_one_out", *SMALL, "--out", "s", "--ray", address)
    assert f"--ray is {address}, and Ray cannot start (The current node timed out" in found
    assert said in found and not Path("s").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_live_cluster_refuses_what_fits_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="needs Ray: make ray")
    words = ["--num-cpus", "4096", "--ray", "local"]
    said = refused(capsys, "sweep", "leave_one_out", *SMALL, "--out", "s", *words)
    assert "a run asks for 4096 CPU" in said and not Path("s").exists()
