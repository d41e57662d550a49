"""What training's statistics warn of, and how often it is said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_world

from assay.core import Loop, Step, Task
from assay.evaluation.alerts import Alerts
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.loops import online
from assay.recipes import grpo
from assay.records import tracking
from assay.records.runs import Run
from assay.stats.training import statistics, troubles


def reading(step: int, **stats: Any) -> dict[str, Any]:
    names = {"length": "completions/mean_length", "cut": "completions/clipped_ratio"}
    names["equal"] = "frac_reward_zero_std"
    return {"step": step, "tag": "", "stats": {names.get(k, k): v for k, v in stats.items()}}


def test_statistics_of_training_are_told_from_those_of_the_reading() -> None:
    stats = {"loss": 1, "read/length": 2.0, "exact/kl": 0.1, "fresh/gold_last": 1.0, "trl/kl": 1.0}
    assert statistics({"stats": {**stats, "odd": None, "on": True}}) == {"loss": 1.0}
    assert statistics({"stats": None}) == {}


def test_equal_rewards_are_no_gradient() -> None:
    (found,) = troubles([reading(0), reading(5, equal=0.9), reading(10, equal=1.0)])
    assert (found.name, found.first, found.looks, found.of) == ("equal rewards", 10, 1, 2)
    assert "the same reward in steps 6 to 10" in found.what and "no gradient" in found.what
    assert "--num-generations" in found.advice
    assert troubles([reading(5, equal=0.99), reading(10)]) == []


def test_truncated_completions() -> None:
    (found,) = troubles([reading(5, cut=1.0), reading(10, cut=0.95), reading(15, cut=0.1)])
    assert (found.first, found.looks, found.of) == (5, 2, 3) and "100%" in found.what
    assert "--max-tokens" in found.advice
    assert troubles([reading(5, cut=0.5)]) == []


def test_a_reward_that_pays_for_length() -> None:
    first = reading(5, length=40.0, reward=0.1)
    (found,) = troubles(
        [first, reading(10, length=60, reward=0.5), reading(15, length=95, reward=1)]
    )
    assert found.first == 15 and "from 40 to 95 tokens" in found.what
    assert troubles([first, reading(10, length=95.0, reward=0.0)]) == [], "the reward fell"
    assert troubles([first, reading(10, length=60.0, reward=1.0)]) == [], "half as long again"


def test_a_warning_is_said_once_also_by_a_run_that_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = [reading(5, equal=1.0), reading(10, equal=1.0)]
    with caplog.at_level(logging.WARNING, logger="assay"):
        alerts = Alerts()
        for r in seen:
            alerts(r)
        Alerts(seen)(reading(15, equal=1.0))
        assert len(caplog.records) == 1
        Alerts(seen)(reading(15, cut=1.0))
    assert [r.message.split(" ")[0] for r in caplog.records] == ["all", "100%"]


def test_what_a_warning_of_the_record_says_is_not_said_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    died: list[dict[str, str]] = []
    with caplog.at_level(logging.WARNING, logger="assay"):
        alerts = Alerts(warnings=died)
        died.append({"kind": "equal_rewards"})
        alerts(reading(10, equal=1.0, cut=1.0))
    assert [r.message.split(" ")[0] for r in caplog.records] == ["100%"]


def test_a_run_on_a_constant_reward_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def constant(task: Task, *, loop: Loop = Loop()) -> Iterator[Step]:
        yield from online(task, loop, score=lambda x: torch.ones(x.mask.shape[:2]))

    loop = Loop(max_steps=4, batch_size=4, num_generations=4)
    config = MeasureConfig(eval_steps=2, eval_generations=2)
    with caplog.at_level(logging.WARNING, logger="assay"):
        readings = list(measure(constant, small_world(grpo), loop=loop, config=config))
    said = [r.message for r in caplog.records if "same reward" in r.message]
    assert len(said) == 1 and "in steps 1 to 2" in said[0]
    stats = readings[2]["stats"]
    assert stats["frac_reward_zero_std"] == 1 and stats["grad_norm"] == 0 and stats["reward"] == 1


def test_trackers_get_the_seconds_of_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, float]] = []

    class Listening:
        def __init__(self, run: Run, project: str):
            """Nothing to open."""

        def log(self, step: int, numbers: dict[str, float]) -> None:
            told.append(numbers)

        def close(self) -> None:
            """Nothing to close."""

    monkeypatch.setitem(tracking.TRACKERS, "wandb", (Listening, "json"))
    run = Run.create(tmp_path / "run", {"recipe": "grpo"})
    for step, seconds in ((0, 0.0), (5, 10.0), (10, 40.0)):
        run.append({**reading(step, loss=0.5, kl=0.1), "kl": 2.0, "seconds": seconds})
    tracking.export(run, ["wandb"])
    assert [n.get("train/step_time") for n in told] == [None, 2.0, 6.0]
    assert (told[1]["kl"], told[1]["train/kl"]) == (2.0, 0.1), "the reading's and training's"
