"""The zoo inside a run: which shapes change nothing there, what a reference is drawn once for, and
what survives a kill.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import small_world
from test_contract import SMALL, drive

from assay.core import Carry, InputError, Rng, World
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.recipes import grpo, preference_as_reward
from assay.recipes.preference_as_reward import CENTRED, PLAIN, recipe
from assay.records.runs import Run


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(preference_as_reward)


def ends(world: World, **arguments) -> list[float]:
    return [r["kl"] for r in drive(preference_as_reward, world, arguments) if r["tag"] != "best"]


def test_affine_shapes_are_no_shape_under_a_standardised_group(world):
    raw = ends(world, shape="none", standardise=True)
    # group_standardised adds 1e-4 to the deviation, which only eps = 0 would make exactly blind
    for shape in ("centre", "minmax", "mean_std"):
        assert ends(world, shape=shape, standardise=True) == pytest.approx(raw, rel=5e-3), shape
    assert abs(ends(world, standardise=True, slope=8.0)[-1] / raw[-1] - 1) > 0.02


def test_raw_and_standardised_is_grpo_without_its_other_changes(world):
    theirs = drive(
        grpo,
        world,
        {"beta": 0.0, "length_mean": False, "epsilon_low": 1.0, "epsilon_high": 1e9},
        loop=SMALL,
    )
    assert [r["kl"] for r in theirs if r["tag"] != "best"] == pytest.approx(
        ends(world, shape="none", standardise=True)
    )


@pytest.mark.full
@pytest.mark.parametrize("shape", PLAIN + CENTRED)
def test_every_shape_runs_and_resumes(world, shape, tmp_path):
    arguments = {"shape": shape, "references": 3}
    whole = drive(preference_as_reward, world, arguments)
    run = Run.create(tmp_path / "r", {})
    half = measure(
        recipe,
        world,
        arguments=arguments,
        loop=SMALL,
        config=MeasureConfig(eval_steps=1, save_steps=2, eval_generations=16),
        run=run,
    )
    for _ in range(4):
        next(half)
    half.close()
    drive(
        preference_as_reward,
        world,
        arguments,
        run=Run.open(tmp_path / "r"),
        resume=True,
        save_steps=2,
    )
    got = Run.open(tmp_path / "r").readings()
    assert [(r["gold"], r["kl"], r["scored"]) for r in got] == [
        (r["gold"], r["kl"], r["scored"]) for r in whole
    ]
    assert whole[-2]["kl"] > 1e-6


def test_a_prompt_s_references_are_drawn_once(world):
    eight = replace(SMALL, batch_size=8)  # every prompt in every step
    a, b = (drive(preference_as_reward, world, {"references": m}, loop=eight)[-2] for m in (2, 5))
    assert b["generated"] - a["generated"] == 8 * 3 and b["scored"] - a["scored"] == 8 * 3


def test_references_are_the_prompt_s_own_and_not_the_policy_s(world):
    task = world.task.replaced(carry=Carry(), rng=Rng(3))
    assert len(list(recipe(task, references=4, loop=SMALL))) == 4
    anchors = task.carry.anchors
    fixed = ~anchors[:, 0].isnan()
    again = world.task.replaced(carry=Carry(), rng=Rng(3))
    next(iter(recipe(again, references=4, loop=SMALL)))
    early = again.carry.anchors
    both = fixed & ~early[:, 0].isnan()
    assert both.any() and torch.equal(anchors[both], early[both])


def test_the_release_s_price_is_another(world):
    long = replace(SMALL, max_steps=40, num_generations=32)
    free, k1, theirs = (
        drive(preference_as_reward, world, a, loop=long)[-2]["kl"]
        for a in ({}, {"beta": 1.0}, {"beta": 1.0, "released": True})
    )
    assert k1 != theirs and max(k1, theirs) < free


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"shape": "per"}, "--shape is 'per'"), ({"references": 0}, "--references is 0")],
)
def test_what_cannot_be_is_refused(world, arguments, said):
    with pytest.raises(InputError, match=said):
        next(iter(recipe(world.task.replaced(carry=Carry()), loop=SMALL, **arguments)))
