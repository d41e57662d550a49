"""Every divergence ends at the same Gibbs policy where the policy can be it; GDC's moments are met;
Z is a prompt's own.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import small_world
from test_contract import SMALL, drive

from assay.core import Carry, InputError, Loop, Rng, World
from assay.formulas.gibbs import DIVERGENCES
from assay.recipes import bayesian_inference
from assay.recipes.bayesian_inference import moved, recipe

LONG = Loop(max_steps=50, batch_size=8, num_generations=64, learning_rate=0.06)


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(bayesian_inference)


def trained(world: World, loop: Loop = LONG, **arguments):
    task = world.task.replaced(carry=Carry(), rng=Rng(0))
    *_, last = recipe(task, loop=loop, **arguments)
    last.policy.requires_grad_(False)
    return last, task


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_all_roads_end_at_the_gibbs_policy(world, divergence):
    beta = 1.5
    last, task = trained(world, divergence=divergence, beta=beta)
    reward = task.rewards.reward
    best = task.reference.tilted(reward.per_decision()[0].double(), beta=beta)
    best.requires_grad_(False)
    start, end = (
        float(p.kl_per_decision(best, task.prompts).mean()) for p in (task.reference, last.policy)
    )
    assert end < 0.15 * start, (start, end)


def test_log_z_is_the_target_s_own(world):
    _, task = trained(world, divergence="reverse", beta=1.5)
    reward = task.rewards.reward
    constant = float(reward.centre[0] / reward.scale[0]) / 1.5
    exact = task.reference.log_partition(reward.per_decision()[0].double(), beta=1.5) - constant
    torch.testing.assert_close(task.carry.log_z, exact, atol=0.05, rtol=0)
    assert float(exact.std()) > 0.05  # prompts differ, so one Z would not do


def test_how_far_the_target_is_is_recorded_both_ways(world):
    first, *_, last = recipe(
        world.task.replaced(carry=Carry(), rng=Rng(0)), loop=LONG, divergence="reverse", beta=1.5
    )
    reward = world.task.rewards.reward
    best = world.task.reference.tilted(reward.per_decision()[0].double(), beta=1.5)
    best.requires_grad_(False)
    exact = float(world.task.reference.kl_per_decision(best, world.task.prompts).mean())
    exact *= world.task.reference.length
    assert first.stats["target/reverse"] == pytest.approx(exact, abs=0.1)
    for way in ("reverse", "forward", "jensen_shannon"):
        assert abs(last.stats[f"target/{way}"]) < 0.2 * first.stats[f"target/{way}"]


def test_moments_are_met(world):
    last, task = trained(world, moment=0.5, members=2)
    x = last.policy.sample(task.prompts, 2000, Rng(9))
    assert [float(v) for v in task.rewards(x)[:2].mean((1, 2))] == pytest.approx(
        [0.5, 0.5], abs=0.12
    )


def test_both_baselines_follow_the_same_gradient(world):
    a, _ = trained(world, divergence="forward", beta=1.5)
    b, task = trained(world, divergence="forward", beta=1.5, siblings_baseline=False)
    assert float(a.policy.kl_per_decision(b.policy, task.prompts).mean()) < 0.01
    assert float(a.policy.kl_per_decision(task.reference, task.prompts).mean()) > 0.03


def test_a_prompt_s_z_moves_at_its_rate():
    z, seen = moved(
        torch.zeros(3).double(),
        torch.tensor([True, False, True]),
        torch.tensor([0, 1, 1]),
        torch.tensor([3.0, 5.0, 5.0]).double().log(),
        0.25,
    )
    assert z.exp().tolist() == pytest.approx([0.75 + 0.25 * 3, 5.0, 1.0]) and seen.all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"divergence": "kl"}, "--divergence is 'kl'"),
        ({"beta": 0.0}, "--beta is 0.0"),
        ({"moment": 1e3}, "--moment is 1000.0"),
    ],
)
def test_what_cannot_be_is_refused(world, arguments, said):
    with pytest.raises(InputError, match=said):
        next(iter(recipe(world.task.replaced(carry=Carry()), loop=SMALL, **arguments)))


def test_lambda_is_solved_once_and_survives(world, tmp_path):
    from assay.records.runs import Run

    short = replace(SMALL, max_steps=2)
    run = Run.create(tmp_path / "r", {})
    first = drive(bayesian_inference, world, {"moment": 0.5}, loop=short, run=run)
    assert first[1]["generated"] == 64 * 6 + 24 and first[-2]["generated"] == 64 * 6 + 48
