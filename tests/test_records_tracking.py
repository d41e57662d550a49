"""Trackers as exporters: what they are told, by which names; a failing one stops nothing; what goes
on is not sent twice.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from assay import cli
from assay.errors import InputError, Missing
from assay.records import tracking
from assay.records.runs import Run, read_lines

RUN = [
    "run",
    "leave_one_out",
    "--world",
    "table",
    "--max-steps",
    "4",
    "--eval-steps",
    "2",
    "--save-steps",
    "2",
    "--batch-size",
    "4",
    "--num-generations",
    "2",
]


def a_run(folder: Path) -> Run:
    run = Run.create(
        folder,
        {
            "recipe": "mean_ensemble",
            "rewards": ["a", "b"],
            "golds": ["first", "second"],
            "arguments": {"lam": 0.5},
            "loop": {"learning_rate": 0.1},
            "seed": 3,
        },
    )
    for t in (0, 5, 10):
        run.append(
            {
                "step": t,
                "tag": "" if t else "reference",
                "gold": 0.1 * t,
                "golds": [0.1 * t, 2.0],
                "kl": None,
                "proxy": 1.0 * t,
                "rewards": [1.0 * t, None],
                "stats": {"loss": 0.25, "odd": None},
                "watch": {"win": 0.5, "word": "go on"},
            }
        )
    run.append({"step": 5, "tag": "best", "gold": 0.75, "stats": {"fresh/gold_last": 0.5}})
    return run


def test_names(tmp_path: Path) -> None:
    readings = a_run(tmp_path / "run").readings()
    assert tracking.numbers(readings[1], ["a", "b"], ["first", "second"]) == {
        "gold": 0.5,
        "golds/first": 0.5,
        "golds/second": 2.0,
        "proxy": 5.0,
        "rewards/a": 5.0,
        "train/loss": 0.25,
        "watch/win": 0.5,
    }
    assert tracking.numbers(readings[3], ["a", "b"]) == {
        "best/gold": 0.75,
        "best/fresh/gold_last": 0.5,
    }
    assert "golds/first" not in tracking.numbers(readings[1], ["a", "b"], ["first"]), (
        "one gold is gold"
    )


class Listening:
    """A tracker that keeps what it is told, and fails when it should."""

    told: ClassVar[list[tuple[int, dict[str, float]]]] = []
    fails: ClassVar[set[int]] = set()
    opened: ClassVar[int] = 0

    def __init__(self, run: Run, project: str):
        type(self).opened += 1

    def log(self, step: int, numbers: dict[str, float]) -> None:
        if len(self.told) + 100 * self.opened in self.fails or -1 in self.fails:
            raise ConnectionError("nobody there")
        self.told.append((step, numbers))

    def close(self) -> None:
        if -1 in self.fails:
            raise ConnectionError("still nobody")


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> type[Listening]:
    monkeypatch.setattr(Listening, "told", [])
    monkeypatch.setattr(Listening, "fails", set())
    monkeypatch.setattr(Listening, "opened", 0)
    monkeypatch.setitem(tracking.TRACKERS, "wandb", (Listening, "json"))
    return Listening


def test_a_failing_tracker_is_counted_said_and_left_alone(
    tmp_path: Path, listening: type[Listening], caplog: pytest.LogCaptureFixture
) -> None:
    run = a_run(tmp_path / "run")
    listening.fails = {-1}
    with caplog.at_level(logging.WARNING, logger="assay"):
        assert tracking.export(run, ["wandb"]) == {
            "wandb": {"sent": 0, "failed": 5}
        }  # the last one: it would not close either
    assert "wandb failed (ConnectionError: nobody there); the run goes on" in caplog.text
    assert f"`assay track {run.folder} --to wandb` sends what it has not had" in caplog.text
    listening.fails = {101 + 100}  # one reading of the second sitting is lost
    assert tracking.export(run, ["wandb"]) == {"wandb": {"sent": 1, "failed": 3}}
    listening.fails = set()
    assert tracking.export(run, ["wandb"]) == {"wandb": {"sent": 3, "failed": 0}}
    assert [s for s, _ in listening.told] == [0, 5, 10, 5] and "best/gold" in listening.told[-1][1]
    assert tracking.export(run, ["wandb"]) == {"wandb": {"sent": 0, "failed": 0}}


def test_a_run_that_goes_on_sends_nothing_twice(
    tmp_path: Path, listening: type[Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.evaluation.measure import Measurement

    whole, listening.told = str(tmp_path / "whole"), []
    assert cli.main([*RUN, "--track", "wandb", "--out", whole]) == 0
    once = list(listening.told)
    assert [s for s, _ in once] == [r["step"] for r in Run.open(whole).readings()] and len(
        once
    ) == 4
    listening.told.clear()
    drawn = Measurement.readings

    def killed(self: Measurement) -> Any:
        for i, reading in enumerate(drawn(self)):
            yield reading
            if i == 2:  # after a reading later than what was saved last
                raise KeyboardInterrupt

    monkeypatch.setattr(Measurement, "readings", killed)
    cut = [
        *RUN[:-6],
        "--save-steps",
        "4",
        *RUN[-4:],
        "--track",
        "wandb",
        "--out",
        str(tmp_path / "cut"),
    ]
    assert cli.main(cut) == 130
    monkeypatch.setattr(Measurement, "readings", drawn)
    assert cli.main(["run", "--resume", "--track", "wandb", "--out", str(tmp_path / "cut")]) == 0

    def timeless(told: list[tuple[int, dict[str, float]]]) -> list[tuple[int, dict[str, float]]]:
        return [(s, {k: n[k] for k in n if k[-7:] not in ("seconds", "ep_time")}) for s, n in told]

    assert timeless(listening.told) == timeless(once)
    assert [r["step"] for r in Run.open(tmp_path / "cut").readings()] == [s for s, _ in once]


def test_a_refused_run_leaves_no_folder_and_no_tracker(
    tmp_path: Path, listening: type[Listening], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "no"
    assert (
        cli.main([*RUN[:-2], "--num-generations", "1", "--track", "wandb", "--out", str(out)]) == 2
        and listening.opened == 0
    )
    assert not out.exists()
    assert cli.main([*RUN, "--track", "wandbb", "--out", str(out)]) == 2 and not out.exists()
    assert (
        "there is no tracker 'wandbb'; they are tensorboard, trackio, wandb"
        in capsys.readouterr().err
    )
    assert cli.main(["track", str(a_run(tmp_path / "run").folder)]) == 2
    assert "--to, one of tensorboard, trackio, wandb" in capsys.readouterr().err


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.TRACKERS, "trackio", (Listening, "no_such_package_here"))
    with pytest.raises(Missing, match=r"pip install '\.\[trackio\]'"):
        tracking.possible(["trackio"])
    with pytest.raises(InputError, match="there is no tracker 'mlflow'"):
        tracking.possible(["mlflow"])


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    assert "run/text_summary" in found.Tags()["tensors"], "the run's arguments are there to be read"
    return {
        name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]
    }


@pytest.mark.filterwarnings("default")
def test_tensorboard_s_files_hold_the_readings(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the tensorboard extra is not installed")
    run = a_run(tmp_path / "run")
    for _ in range(2):  # made anew the second time, not doubled
        assert tracking.export(run, ["tensorboard"]) == {"tensorboard": {"sent": 4, "failed": 0}}
        found = scalars(run.folder / "tensorboard")
        assert found["proxy"] == [(0, 0.0), (5, 5.0), (10, 10.0)] and found["rewards/a"][1] == (
            5,
            5.0,
        )
        assert found["best/gold"] == [(5, 0.75)] and "rewards/b" not in found and "kl" not in found


@pytest.mark.filterwarnings("default")
def test_tensorboard_while_a_run_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the tensorboard extra is not installed")
    out = tmp_path / "run"
    assert cli.main([*RUN, "--track", "tensorboard", "--out", str(out)]) == 0
    found, readings = scalars(out / "tensorboard"), Run.open(out).readings()
    assert found["kl"] == [
        (r["step"], pytest.approx(r["kl"], rel=1e-6)) for r in readings if r["tag"] != "best"
    ]


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_trackers_with_a_store_of_their_own(tmp_path: Path, name: str) -> None:
    """In a process of its own, without a network: trackio's database, wandb's offline file."""
    pytest.importorskip(name, reason=f"the {name} extra is not installed")
    run = a_run(tmp_path / "run")
    quiet = {
        **os.environ,
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "HF_HUB_OFFLINE": "1",
    }
    for sent in (4, 0):
        words = ["track", str(run.folder), "--to", name, "--project", "mine", "--json"]
        said = subprocess.run(
            [sys.executable, "-m", "assay", *words],
            env=quiet,
            capture_output=True,
            text=True,
            timeout=170,
        )
        assert said.returncode == 0, said.stderr
        assert (
            json.loads(next(x for x in said.stdout.splitlines() if x.startswith("{")))["trackers"][
                name
            ]["sent"]
            == sent
        )
    assert len(read_lines(run.folder / tracking.SENT)) == 4
    if (
        name == "wandb"
    ):  # its offline file is a log of protobuf records, in which names and JSON numbers are plain
        raw = b"".join(p.read_bytes() for p in (run.folder / "wandb").glob("*/*.wandb"))
        assert all(
            word in raw
            for word in (b"rewards/a", b"best/gold", b"0.75", b"golds/second", b"mean_ensemble")
        )
        return
    read = (
        "import json, trackio.sqlite_storage as s; S = s.SQLiteStorage; r, = S.get_runs('mine'); "
        "print(json.dumps([S.get_logs('mine', r), S.get_run_config('mine', r)]))"
    )
    rows, config = json.loads(
        subprocess.run(
            [sys.executable, "-c", read],
            env=quiet,
            capture_output=True,
            text=True,
            timeout=170,
            check=True,
        ).stdout.splitlines()[-1]
    )
    assert [(r["step"], r.get("gold", r.get("best/gold"))) for r in rows] == [
        (0, 0.0),
        (5, 0.5),
        (10, 1.0),
        (5, 0.75),
    ]
    assert config["arguments"] == {"lam": 0.5} and config["seed"] == 3
