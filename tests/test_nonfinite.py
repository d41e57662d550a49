"""A number that is NaN or infinite names the completion that it belongs to."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_world

from assay.core import Loop, Samples, Step, Task, World
from assay.core.reward import Checked
from assay.engine.nonfinite import Event, nonfinite
from assay.errors import InputError, NotFinite
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.loops import online, policy_gradient, proxy_score
from assay.recipes import grpo
from assay.records.runs import Run
from assay.rewards.returned import numbers

LOOP = Loop(max_steps=3, batch_size=6, num_generations=4, learning_rate=0.05)


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(grpo)


def spoiled(task: Task, *, what: str, loop: Loop = LOOP) -> Iterator[Step]:
    """A recipe whose second step has one number that is NaN, of completion 2 of prompt 5."""

    def here(rows: Samples) -> torch.Tensor:
        """Only where the piece holds it; the third of the batch's completions is marked."""
        return (rows.prompts.row == 5)[:, None] & rows.extra["marked"].bool()

    def rollout(policy: Any, number: int) -> Samples:
        x = policy.sample(task.batch(loop, 0), 4, task.rng("sample", number))
        x.extra["marked"] = torch.zeros(x.present.shape).index_fill_(1, torch.tensor(2), 1.0)
        return x

    def loss(logp: torch.Tensor, rows: Samples, A: torch.Tensor) -> torch.Tensor:
        spoil = here(rows)[..., None] & (task.carry.next == 2)
        if what == "reference":
            bad = logp.detach().masked_fill(spoil, torch.nan)
            return policy_gradient(logp, rows, A) + nonfinite.logps("reference", rows, bad)
        return policy_gradient(logp, rows, A).masked_fill(spoil, torch.nan)

    yield from online(task, loop, score=proxy_score(task), rollout=rollout, loss=loss)


def drive(world: World, what: str, run: Run | None = None, **how: Any) -> list[dict[str, Any]]:
    config = MeasureConfig(eval_steps=1, eval_generations=4, **how)
    recipe = functools.partial(spoiled, what=what)
    return list(measure(recipe, world, loop=LOOP, config=config, run=run))


@pytest.mark.parametrize("micro", [0, 1])
@pytest.mark.parametrize(
    ("what", "number"), [("loss", "loss"), ("reference", "log-probability under the reference")]
)
def test_a_step_that_is_not_finite_names_its_completion(
    what: str, number: str, micro: int, world: World, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    run = Run.create(tmp_path / "run", {})
    with caplog.at_level(logging.WARNING, logger="assay"):
        readings = drive(world, what, run, micro_batch_size=micro)
    assert [r["stats"].get("skipped") for r in readings[1:4]] == [0, 1, 0], "and it goes on"
    (found,) = Run.open(run.folder).about["warnings"]
    assert (found["kind"], found["step"], found["number"]) == ("nonfinite", 2, number)
    (sample,) = found["samples"]
    assert (sample["row"], sample["completion_index"], found["count"]) == (5, 2, 1)
    assert sample["completion"] and "completion 2 of prompt 5" in caplog.text
    with pytest.raises(NotFinite, match=r"step 2: .*from its .*: completion 2 of prompt 5"):
        drive(world, what, stopped := Run.create(tmp_path / "stop", {}), stop_on_nonfinite=True)
    assert Run.open(stopped.folder).about["warnings"][0]["samples"] == [sample]


class Odd:
    names, partial = ("odd",), False

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Samples) -> torch.Tensor:
        self.calls += 1
        scores = x.action.double().flatten(2).sum(-1)[None]
        return scores.masked_fill(torch.tensor(self.calls == 4), torch.nan)


def test_a_reward_that_is_not_finite_stops_or_is_left_out_as_told(
    world: World, tmp_path: Path
) -> None:
    def recipe(task: Task, *, loop: Loop = LOOP) -> Iterator[Step]:
        yield from grpo.recipe(task.replaced(rewards=Odd()), loop=loop)

    def run(name: str, **how: Any) -> tuple[Run, list[Any]]:
        record = Run.create(tmp_path / name, {})
        config = MeasureConfig(eval_steps=1, eval_generations=4, **how)
        return record, list(measure(recipe, world, loop=LOOP, config=config, run=record))

    with pytest.raises(InputError, match=r"step \d: reward 'odd' gave nan for completion 0 of pro"):
        run("stop")
    about = Run.open(tmp_path / "stop").about
    assert about["warnings"][0]["number"] == "reward of odd" and about["state"] == "failed"
    record, readings = run("skip", nonfinite_rewards="skip")
    about = Run.open(record.folder).about
    assert about["state"] == "done" and about["warnings"][0]["count"] > 0 and readings
    advice = about["warnings"][0]["advice"]
    assert "goes on without it" in advice and "--nonfinite-rewards" not in advice, "it is said"


def test_what_a_function_returned_is_handed_on_only_to_who_names_the_sample() -> None:
    with pytest.raises(InputError, match="returned nan for completion 1"):
        numbers([1.0, float("nan")], 2, "judge")
    with nonfinite.into([]), nonfinite.passing():
        assert numbers([1.0, float("nan")], 2, "judge") == [1.0, float("inf")]
    with nonfinite.into(events := []), pytest.raises(InputError, match="given; return"):  # type: ignore[var-annotated]
        raise InputError("given; return")
    assert events == [] and not nonfinite.collects


def test_nothing_is_kept_where_nobody_collects(world: World) -> None:
    x = world.task.reference.sample(world.held_out, 2, world.task.rng("x"))
    nonfinite.logps("policy", x, x.logp * torch.nan)
    with nonfinite.into(events := list[Event]()):
        assert not torch.isnan(Checked(Odd())(x)).any() and events == []
    assert nonfinite._suspects == []
