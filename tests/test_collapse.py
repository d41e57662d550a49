"""Training that has died is noticed within so many steps, recorded, and told by the exit code."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_world

import assay
from assay import cli
from assay.core import Loop, Samples, Step, Task, World
from assay.core.reward import Checked
from assay.errors import Collapsed
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.loops import Rollouts, fill_missing, online, policy_gradient, proxy_score
from assay.recipes import grpo
from assay.records.run_warnings import collapsed
from assay.records.runs import Run
from assay.stats.collapse import Monitor

HEALTHY, LASTS, LAST = 2, 3, 7  # steps before it dies; steps that a sign lasts; steps of a run
LOOP = Loop(max_steps=LAST, batch_size=6, num_generations=4, learning_rate=0.05)
KINDS = (
    "equal_rewards",
    "no_reward",
    "truncated",
    "zero_gradient",
    "updates_skipped",
    "exploded_loss",
)


class Never:
    names, partial = ("never",), True

    def __call__(self, x: Samples) -> torch.Tensor:
        return torch.full((1, *x.mask.shape[:2]), torch.nan).double()


def dying(task: Task, *, kind: str, back: int = LAST + 1, loop: Loop = LOOP) -> Iterator[Step]:
    """A recipe that is healthy for two steps, and again from step `back` on."""
    proxy, never = proxy_score(task), fill_missing(Checked(Never()))

    def dead() -> bool:
        return HEALTHY < task.carry.next < back

    def score(x: Samples) -> torch.Tensor:
        if kind == "no_reward" and dead():
            return never(x)[0]
        return proxy(x) * (0.0 if kind == "equal_rewards" and dead() else 1.0)

    def rollout(policy: Any, number: int) -> Samples:
        x = policy.sample(task.batch(loop, number), 4, task.rng("sample", number))
        return replace(x, ended=x.ended & False) if kind == "truncated" and dead() else x

    def loss(logp: torch.Tensor, rows: Samples, A: torch.Tensor) -> torch.Tensor:
        factor = {"zero_gradient": 0.0, "updates_skipped": torch.nan, "exploded_loss": 1e29}
        return policy_gradient(logp, rows, A) * (factor.get(kind, 1.0) if dead() else 1.0)

    def after(batch: Rollouts) -> None:
        if kind == "parameters_not_finite" and batch.step == HEALTHY:
            next(iter(batch.policy.parameters())).fill_(torch.inf)

    yield from online(task, loop, score=score, rollout=rollout, loss=loss, after=after)


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(grpo)


def drive(world: World, kind: str, run: Run | None = None, **how: Any) -> list[dict[str, Any]]:
    config = {"eval_steps": 2, "eval_generations": 4, "collapse_steps": LASTS}
    resume, back = how.pop("resume", False), how.pop("back", LAST + 1)
    return list(
        measure(
            functools.partial(dying, kind=kind, back=back),
            world,
            loop=LOOP,
            config=MeasureConfig(**{**config, **how}),
            run=run,
            resume=resume,
        )
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_died_is_said_within_so_many_steps_and_changes_no_reading(
    kind: str, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create(tmp_path / "run", {})
    with caplog.at_level(logging.WARNING, logger="assay"):
        warned = drive(world, kind, run)
    about = Run.open(run.folder).about
    (found,) = collapsed(about)
    assert (found["kind"], found["since"], found["step"]) == (kind, 3, 5) and found["advice"]
    assert "since step 3" in found["what"] and found["what"] in caplog.text
    with pytest.raises(Collapsed, match="at step 5 by --on-collapse: .*since step 3"):
        drive(world, kind, stopped := Run.create(tmp_path / "stop", {}), on_collapse="stop")
    about = Run.open(stopped.folder).about
    assert about["state"] == "failed" and about["error"].startswith("Collapsed: ")
    ignored = drive(world, kind, on_collapse="ignore", collapse_steps=100)
    for a, b in zip(warned, ignored, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }


@pytest.mark.parametrize("kind", ["equal_rewards", "updates_skipped"])
def test_a_run_that_is_killed_and_goes_on_warns_as_the_uninterrupted_one(
    kind: str, world: World, tmp_path: Path
) -> None:
    whole, cut = Run.create(tmp_path / "whole", {}), Run.create(tmp_path / "cut", {})
    drive(world, kind, whole)
    config = MeasureConfig(eval_steps=2, eval_generations=4, collapse_steps=LASTS, save_steps=4)
    readings = measure(
        functools.partial(dying, kind=kind), world, loop=LOOP, config=config, run=cut
    )
    while next(readings)["step"] < 6:
        pass
    readings.close()
    assert [w["step"] for w in Run.open(cut.folder).about["warnings"]][-1] >= 5, "made again"
    drive(world, kind, Run.open(cut.folder), resume=True)
    warnings = Run.open(whole.folder).about["warnings"]
    assert warnings and Run.open(cut.folder).about["warnings"] == warnings


def test_training_that_recovers_has_not_died(world: World, tmp_path: Path) -> None:
    drive(world, "zero_gradient", run := Run.create(tmp_path / "run", {}), back=6)
    about = Run.open(run.folder).about
    (found,) = about["warnings"]
    assert (found["step"], found["until"]) == (5, 6) and collapsed(about) == []


def test_parameters_that_are_not_finite_are_seen_at_once(world: World, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    with pytest.raises(Collapsed, match="parameters in training are NaN or infinite"):
        drive(world, "parameters_not_finite", run, on_collapse="stop")
    assert Run.open(run.folder).about["warnings"][-1]["step"] == 4, "the next reading"


def test_few_completions_prove_nothing_and_a_short_run_that_learned_nothing_does() -> None:
    few = Monitor(steps=3, completions=2)  # 64 completions are 32 steps
    for t in range(1, 32):
        assert few(t, {"frac_reward_zero_std": 1.0}) == ({}, [])
    assert few(32, {"frac_reward_zero_std": 1.0})[0] == {"equal_rewards": 1}
    short = Monitor(steps=10, completions=64)
    for t in (1, 2):
        short(t, {"frac_reward_missing": 1.0, "grad_norm": 0.0})
    assert short.at_end(2) == {"no_reward": 1}
    partly = Monitor(steps=10, completions=64)
    partly(1, {"frac_reward_missing": 1.0})
    partly(2, {"frac_reward_missing": 0.9})
    assert partly.at_end(2) == {}


def test_completions_that_never_ended_are_of_a_fixed_length() -> None:
    def after(ended: list[float], cut: int) -> dict[str, int]:
        monitor, said = Monitor(steps=10, completions=64), {}
        for t, share in enumerate([*ended, *[0.0] * cut], 1):
            said |= monitor(t, {"completions/clipped_ratio": 1 - share})[0]
        return said

    assert after([], 500) == {}, "all were truncated from the first step on"
    assert after([0.5] * 5, 10) == {"truncated": 6}
    assert after([0.5] * 5, 9) == {}
    assert after([1 / 64], 9) == after([1 / 640], 99) == {}, "chance"
    assert after([1 / 640], 100) == {"truncated": 2}
    old = Monitor(1, 64, {"loss": None, "signs": {}, "active": []})
    assert old(3, {"completions/clipped_ratio": 1.0}) == ({}, []), "saved before shares were"


def test_one_update_in_ten_does_not_make_training_alive() -> None:
    monitor, said = Monitor(steps=10, completions=64), {}
    for t in range(1, 21):
        made = {"skipped": 0.0, "learning_rate": 1.0} if t % 10 == 0 else {"skipped": 4.0}
        said |= monitor(t, made)[0]
    assert said == {"updates_skipped": 1}
    assert Monitor(steps=10, completions=1)(1, {"loss": torch.nan, "grad_norm": torch.nan})[0] == {}


def test_offline_statistics_and_large_rewards_are_no_sign() -> None:
    monitor = Monitor(steps=1, completions=64)
    for stats in (
        {"loss": 0.7, "grad_norm": 1e-9, "rewards/margins": 0.0, "learning_rate": 1e-6},
        {"loss": 3e9, "reward": 1e9, "reward_std": 1e8, "grad_norm": 1.0},
        {"loss": -0.1, "frac_reward_zero_std": 0.99, "completions/clipped_ratio": 0.99},
    ):
        assert monitor(1, stats) == ({}, [])


def test_the_exit_code_says_that_training_has_died(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    given = ["run", "leave_one_out", "--world", "table", "--lr", "1e38", "--max-steps", "6"]
    given += ["--collapse-steps", "3", "--batch-size", "4", "--eval-generations", "2"]
    assert cli.main([*given, "--out", str(out)]) == 4
    said = capsys.readouterr().err
    assert "nearly every update of the last 3 steps (since step 2) was skipped" in said
    assert cli.main(["run", "--resume", "--out", str(out)]) == 4, "done, and still dead"
    stop = [*given, "--on-collapse", "stop", "--out", str(tmp_path / "stop")]
    assert cli.main(stop) == 4
    assert "stopped at step" in capsys.readouterr().err
    assert cli.main([*given, "--on-collapse", "ignore", "--out", str(tmp_path / "ignore")]) == 0
    assert Run.open(tmp_path / "ignore").about["warnings"], "it is in the record"


def test_words_that_are_none_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "grpo", "--world", "table", "--on-collapse", "halt"]) == 2
    assert "--on-collapse" in (said := capsys.readouterr().err) and "warn" in said


def test_what_follows_from_parameters_that_are_not_finite_is_recorded_and_not_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    given = ["run", "leave_one_out", "--world", "table", "--lr", "1e38", "--max-steps", "8"]
    given += ["--collapse-steps", "3", "--batch-size", "4", "--eval-generations", "2"]
    assert cli.main([*given, "--eval-steps", "1", "--out", str(out)]) == 4
    said = capsys.readouterr().err
    assert said.count("an update was skipped") == 1 and "the same reward" not in said
    assert said.count("parameters in training are NaN") == 2, "when it is seen, and at the end"
    assert said.count("nearly every update") == 1
    about = Run.open(out).about
    kinds = [w["kind"] for w in about["warnings"]]
    assert kinds.count("nonfinite") > 3 and "equal_rewards" in kinds
    run = assay.open_run(out)
    assert repr(run).endswith("step 8; training has died: parameters_not_finite since step 1>")
    assert "Training has died</b>: parameters in training are NaN" in run._repr_html_()
