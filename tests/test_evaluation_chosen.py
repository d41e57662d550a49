"""What a run chooses by the model's size, and what it says of its readings' cost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from assay.core import Loop
from assay.evaluation import chosen as choices
from assay.evaluation.chosen import AT_THE_END, chosen, readings
from assay.evaluation.config import MeasureConfig
from assay.evaluation.cost import Cost
from assay.evaluation.reading import Reader
from assay.models import size
from assay.worlds import table

HUB = Loop(max_steps=100, batch_size=16, num_generations=8)


def small() -> Any:
    return table.world(testbed="bandit", prompts=8, responses=24, pairs=20, members=1)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A world whose reference counts as large, with 128 held-out prompts."""
    monkeypatch.setattr(size, "LARGE", 1)
    world = small()
    world.held_out = world.held_out[torch.zeros(128, dtype=torch.int64)]
    return world


def test_a_small_model_is_read_often() -> None:
    world = small()
    found = chosen(MeasureConfig(), world, HUB)
    assert (found.eval_steps, found.eval_generations) == (5, 8)


def test_a_large_model_s_readings_take_a_quarter(large: Any) -> None:
    found = chosen(MeasureConfig(), large, HUB)
    assert (found.eval_steps, found.eval_generations) == (10, 2)
    read = (readings(100, found.eval_steps) + AT_THE_END) * 128 * found.eval_generations
    assert 0.1 < read / (read + 100 * 16 * 8) <= 1 / 4
    short = chosen(MeasureConfig(), large, Loop(max_steps=40, batch_size=4, num_generations=4))
    assert readings(40, short.eval_steps) >= 5, "a curve is drawn, whatever it costs"


def test_without_gold_nothing_is_read_again(large: Any) -> None:
    """No checkpoint is chosen, so a run ends with its curve."""
    large.gold = None
    start, later = told(large, (60.0, 120.0))
    assert start.endswith("21 readings in 100 steps (--eval-steps 5)")
    assert later.endswith("readings about 42 min, 30% of this run")
    loop = Loop(max_steps=100, batch_size=12, num_generations=8)
    assert chosen(MeasureConfig(), large, loop).eval_steps == 10
    large.gold = lambda x: x
    assert chosen(MeasureConfig(), large, loop).eval_steps == 20


def test_what_is_given_holds(large: Any) -> None:
    given = MeasureConfig(eval_steps=3, eval_generations=8)
    assert chosen(given, large, HUB) is given
    assert chosen(MeasureConfig(eval_steps=3), large, HUB).eval_steps == 3
    assert chosen(MeasureConfig(eval_generations=7), large, HUB).eval_generations == 7


def test_stored_completions_cost_less_than_generated_ones(large: Any) -> None:
    assert choices.trained(large.task, HUB) == 16 * 8
    stored = large.task.replaced(rewards=None)
    assert choices.trained(stored, HUB) == 16 * 2 * choices.STORED


def test_an_adapter_counts_with_its_base() -> None:
    base, own = torch.nn.Linear(10, 10), torch.nn.Linear(1, 1)
    own.computes_with = base  # type: ignore[assignment]
    assert size.parameter_count(SimpleNamespace(backbone=own)) == 110


def told(large: Any, seconds: tuple[float, float], **settings: Any) -> list[str]:
    config = MeasureConfig(**{"eval_steps": 5, "eval_generations": 8, **settings})
    said: list[str] = []
    reader = Reader(large, large.task, eval_generations=1, log_completions=0)
    cost = Cost(reader, large, HUB, config, said.append)
    cost.begin()
    cost.step(seconds[0])
    cost._reading = seconds[1]
    cost.step(seconds[0])
    return said


def test_the_cost_is_said_at_the_start_and_once_it_was_timed(large: Any) -> None:
    start, later = told(large, (60.0, 120.0))
    assert start == (
        "each reading samples 8 completions for each of 128 held-out prompts; 21 readings in 100 "
        "steps (--eval-steps 5); at the end up to 3 more: the best checkpoint again, beside the "
        "reference and the last policy"
    )
    assert later == (
        "training takes about 1 h 40 min and readings about 48 min, 32% of this run"
    ), "less than a third needs no advice"
    _, later = told(large, (60.0, 240.0))
    assert later.endswith(
        "readings about 1 h 36 min, 49% of this run; --eval-steps 10 makes it 36%"
    )
    _, later = told(large, (60.0, 900.0), eval_steps=100)
    assert later.endswith("; --eval-generations 4 makes it 27%")


def test_a_small_run_says_nothing() -> None:
    world = small()
    assert told(world, (0.01, 0.1)) == []
