"""Recipes that divide completions or weigh rewards: who gets how many, and what is dealt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small import small_world
from test_contract import drive, loop_of

from assay.core import InputError
from assay.loops import proxy_score
from assay.recipes import drpo, knapsack, rewriting


def stats(module: Any, **constants: Any) -> list[dict[str, Any]]:
    """Statistics of two steps."""
    readings = drive(module, small_world(module), constants, replace(loop_of(module), max_steps=2))
    return [r["stats"] for r in readings if r["step"] and r["tag"] != "best"]


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
