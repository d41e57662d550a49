"""The calibrated pessimist: it pays for its labels once, and keeps its promise on answers like
those it bought.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import torch

from assay.core import Ask, Carry, InputError, Loop, World
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.recipes import quantile_aggregation
from assay.recipes.quantile_aggregation import calibrated, features, inputs, quantiles
from assay.worlds import table

LOOP = Loop(max_steps=3, batch_size=4, num_generations=4, learning_rate=0.05)


@pytest.fixture(scope="module")
def world() -> World:
    return table.world(pairs=200, members=3, seed=1)


def test_labels_are_bought_once_and_counted(world: World) -> None:
    readings = list(
        measure(
            quantile_aggregation.recipe,
            world,
            loop=LOOP,
            arguments={"bought": 80},
            config=MeasureConfig(eval_steps=1, eval_generations=4),
        )
    )
    assert [r["labels"] for r in readings] == [0, 80, 80, 80, 80]
    assert all("quantile/kappa" in r["stats"] for r in readings[1:4])


@pytest.mark.full
def test_the_score_is_below_gold_as_often_as_was_promised(world: World) -> None:
    """Over many purchases: the share of fresh reference answers that are worth more than their
    score is at least 0.9.
    """
    policy, judges, gold = world.task.reference, world.task.rewards, world.gold
    assert gold is not None
    levels, covered = torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64), []
    for k in range(25):
        x = policy.sample(world.task.prompts[:1], 360, world.task.rng("purchase", k))
        told, y = inputs(judges(x))[:, 0], gold(x)[0, 0].double()
        read, rng = features(told), world.task.rng("network", k)
        learned = calibrated(told[:, :160], read[:160], y[:160], levels, rng)
        q = quantiles(told[:, 160:], read[160:], learned)
        low = q[:, -1] - learned.kappa * (q[:, -1] - q[:, 0])
        covered.append((y[160:] > low).double().mean())
    mean = float(torch.stack(covered).mean())
    # 40 scores calibrate each, so the promise is ⌈41·0.9⌉/41 = 0.902; three standard errors of 25
    # purchases and 200 answers
    assert 0.902 - 0.031 < mean < 0.902 + 0.031


def test_the_first_thing_it_does_is_ask_and_what_it_learned_is_carried(world: World) -> None:
    carry = Carry()
    steps: Generator[Any, Any, None] = quantile_aggregation.recipe(
        world.task.replaced(carry=carry), bought=80, loop=LOOP
    )
    asked = next(steps)
    assert isinstance(asked, Ask) and asked.samples.mask.shape[:2] == (80, 1)
    assert world.gold is not None
    steps.send(world.gold(asked.samples)[0])
    first = next(steps)
    again = quantile_aggregation.recipe(
        world.task.replaced(carry=Carry(carry.state())), bought=80, loop=LOOP
    )
    went_on = next(again)
    assert not isinstance(went_on, Ask)
    assert went_on.stats["quantile/kappa"] == first.stats["quantile/kappa"]


def test_shuffled_labels_teach_nothing(world: World) -> None:
    """The negative control buys as many labels, and its quantiles hardly depend on the scores."""
    gold, ends = world.gold, {}
    assert gold is not None
    for shuffled in (False, True):
        carry = Carry()
        steps: Generator[Any, Any, None] = quantile_aggregation.recipe(
            world.task.replaced(carry=carry), bought=400, shuffled=shuffled, loop=LOOP
        )
        steps.send(gold(next(steps).samples)[0])
        ends[shuffled] = carry.state()["values"]["slopes"][:, 1].abs().mean()
    assert float(ends[True]) < 0.5 * float(ends[False])


def test_what_cannot_be_calibrated_is_refused(world: World) -> None:
    for arguments, said in (
        ({"level": 0.6}, "below 0.5"),
        ({"level": 0.0}, "above 0 where labels are bought"),
        ({"bought": 20}, "buy at least 40"),
        ({"weights": "none"}, "local or global"),
    ):
        with pytest.raises(InputError, match=said):
            next(quantile_aggregation.recipe(world.task, **arguments, loop=LOOP))
