"""iTool: which prompts a round takes, what a pair parts on, and what its losses push."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_contract import SMALL, drive, small_world

from assay.core import Loop, Task
from assay.errors import InputError
from assay.recipes import itool
from assay.recipes.itool import ranked

LOOP = replace(SMALL, max_steps=2, num_generations=8, learning_rate=0.003)


def test_hard_prompts_are_those_whose_demonstrations_take_most_nats() -> None:
    nats = torch.tensor([0.1, 0.9, 0.5, 0.7, 0.3])
    assert ranked(nats, "hard", 0.4).tolist() == [1, 3]
    assert ranked(nats, "easy", 0.4).tolist() == [0, 4]
    assert ranked(nats, "hard", 0.1).tolist() == [1], "at least one"
    assert ranked(nats, "random", 0.4).tolist() == [0, 1, 2, 3, 4]


def run(**given: Any) -> dict[str, Any]:
    return drive(itool, small_world(itool), {"round_steps": 1, **given}, loop=LOOP)[1]["stats"]


@pytest.mark.full
def test_a_round_searches_where_the_policy_is_perplexed() -> None:
    hard, easy, anywhere = (run(select=s) for s in ("hard", "easy", "random"))
    assert hard["deficiency/all"] == easy["deficiency/all"]
    assert hard["deficiency/chosen"] > hard["deficiency/all"] > easy["deficiency/chosen"]
    assert hard["deficiency/chosen"] > anywhere["deficiency/chosen"]
    assert hard["self_play/pairs"] > 0 and hard["search/completions"] > LOOP.batch_size


@pytest.mark.full
def test_limits_leave_pairs_out_and_coins_turn_them() -> None:
    every = run(apart=0.0, overlap=1.0, worth=-1.0)
    assert run()["self_play/pairs"] < every["self_play/pairs"]
    assert run(apart=9.0)["self_play/pairs"] == 0
    norms = {round(run(**g)["grad_norm"], 9) for g in ({}, {"label": "coin"}, {"loss": "simpo"})}
    assert len(norms) == 3


def test_pairs_part_at_their_first_token_and_the_better_one_is_learned() -> None:
    """One round, until its pairs are fitted: the policy prefers what the search did."""
    world = small_world(itool)
    for loss in ("dpo", "simpo"):
        task: Task = world.task.replaced(carry=type(world.task.carry)())
        loop = Loop(max_steps=6, batch_size=6, learning_rate=0.003)
        steps = list(itool.recipe(task, loss=loss, beta=1.0, round_steps=6, loop=loop))
        data = task.carry.data
        parts = data.mask.float().argmax(-1)
        ids = data.action.gather(-1, parts[..., None])[..., 0]
        both = data.mask.any(-1).all(-1)
        assert bool((ids[both, 0] != ids[both, 1]).all())
        gap = [p.logp(data).detach().sum(-1) for p in (world.task.reference, steps[-1].policy)]
        before, after = (float((g[:, 0] - g[:, 1]).mean()) for g in gap)
        assert after > before
        assert torch.equal(data.p, torch.ones_like(data.p))


def test_constants_out_of_range_are_said() -> None:
    for given, said in (({"ratio": 0.0}, "--ratio 0.0"), ({"depth": 0}, "--depth 0")):
        with pytest.raises(InputError, match=said):
            run(**given)
