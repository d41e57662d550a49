"""Recipes that divide completions or weigh rewards: who gets how many, and what is dealt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small import BANDIT, small_world
from test_contract import drive, loop_of
from test_loops_own_logp import task as half

from assay.core import InputError, Loop
from assay.formulas.decoupled import decoupled, length_log_weights
from assay.loops import proxy_score
from assay.recipes import drpo, knapsack, rewriting
from assay.worlds import table


def stats(module: Any, **constants: Any) -> list[dict[str, Any]]:
    """Statistics of two steps."""
    readings = drive(module, small_world(module), constants, replace(loop_of(module), max_steps=2))
    return [r["stats"] for r in readings if r["step"] and r["tag"] != "best"]


@pytest.mark.full
def test_the_knapsack_spends_the_same_completions_unequally() -> None:
    world = small_world(knapsack)
    equal, mine = (
        drive(knapsack, world, {"division": d, "most": 16}) for d in ("uniform", "knapsack")
    )
    assert equal[-2]["generated"] == mine[-2]["generated"]
    assert equal[-2]["stats"]["budget/most"] == 4
    assert max(r["stats"].get("budget/most", 0) for r in mine) > 4
    with pytest.raises(InputError, match="--least is 5"):
        stats(knapsack, least=5)


@pytest.mark.full
def test_drpo_learns_from_mixed_prompts_and_its_control_deals_lengths_among_right_answers() -> None:
    said = stats(drpo)
    assert all(s["drpo/frac_mixed"] > 0 and s["loss"] != 0 for s in said)
    assert stats(drpo, above=2.0)[-1]["drpo/frac_mixed"] == 0, "no answer is right above 2"
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    good = torch.tensor([[True, False, True, True]])
    out = drpo.dealt(weight, good, torch.tensor([[0.9, 0.1, 0.2, 0.5]]))
    assert out.tolist() == [[4.0, 2.0, 1.0, 3.0]]
    with pytest.raises(InputError, match="--tau"):
        stats(drpo, tau=0.0)


class Half:
    """Even first tokens are right answers to the first two rows, and all answers to the others."""

    names, partial = ("half",), False

    def __call__(self, samples: Any) -> torch.Tensor:
        easy = samples.prompts.row[:, None] >= 2
        return (easy | (samples.action[..., 0] % 2 == 0)).double()[None]


def test_drpo_s_mean_is_over_all_prompts_and_only_mixed_ones_have_a_contrast() -> None:
    loop = replace(loop_of(drpo), max_steps=1, batch_size=4, num_generations=6, epochs=1)
    loop = replace(loop, mini_batch_size=0)
    task = table.world(seed=0, **BANDIT).task.replaced(rewards=Half())
    task = task.replaced(prompts=task.prompts[:4])
    x = task.reference.sample(task.batch(loop, 0), 6, task.rng("sample", 0))
    right = task.rewards(x)[0] > 0.5
    weight = length_log_weights(x.lengths, longest=9)
    values = decoupled(x.logp.sum(-1) / x.lengths, right, x.present, weight)
    mixed = right.any(1) & ~right.all(1)
    assert 0 < mixed.sum() < 4
    said = next(drpo.recipe(task, longest=9, loop=loop)).stats
    assert said["loss"] == pytest.approx(float(values[mixed].sum()) / 4, rel=1e-5)
    assert said["drpo/frac_mixed"] == float(mixed.double().mean())


def test_in_half_precision_the_knapsack_s_ratio_is_1_before_the_first_update() -> None:
    """The mean of a prompt's standardised advantages is 0, and so is its loss at ρ = 1."""
    loop = Loop(max_steps=1, batch_size=2, num_generations=3)
    said = next(knapsack.recipe(half(torch.bfloat16), loop=loop)).stats
    assert abs(said["loss"]) < 1e-6 < said["grad_norm"]


def test_a_weighted_proxy_is_the_weighted_sum_of_the_first_rewards() -> None:
    task = small_world(rewriting).task
    x = task.reference.sample(task.prompts, 3, task.rng("here"))
    each = task.rewards(x)
    weighted = proxy_score(task, aggregate="weighted:0.25,0.5")(x)
    torch.testing.assert_close(weighted, 0.25 * each[0] + 0.5 * each[1])
    torch.testing.assert_close(proxy_score(task, aggregate="weighted:2")(x), 2 * each[0])
    for word in ("weighted:", "weighted:a", "weighted:nan,1"):
        with pytest.raises(InputError, match="--aggregate is"):
            proxy_score(task, aggregate=word)
    with pytest.raises(InputError, match="member"):
        proxy_score(task, aggregate="weighted:1,1,1,1,1,1,1")
    with pytest.raises(InputError, match="--weight"):
        stats(rewriting, weight=2.0)


def test_the_control_deals_the_second_reward_and_keeps_its_mean() -> None:
    plain, dealt = stats(rewriting, weight=0.0), stats(rewriting, weight=0.0, shuffled=True)
    assert plain[0]["reward"] == pytest.approx(dealt[0]["reward"])
    assert plain[-1] != dealt[-1]
