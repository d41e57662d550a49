"""Progress times penalties, and where an episode ends; what these recipes say to who asks the wrong
world.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from assay.core import Carry, InputError, Loop, Missing, Rng
from assay.models.policies.markov import acting
from assay.models.process import states
from assay.recipes import barfi, carl, correlated_proxies, reward_design
from assay.worlds.table import world


def test_the_product_is_progress_times_what_each_event_leaves() -> None:
    progress = torch.tensor([0.1, 0.2, 0.1, 0.0])
    events = {
        "offlane": torch.tensor([0.0, 1.0, 1.0, 1.0]),
        "rush": torch.tensor([0.0, 1.0, 0.0, 1.0]),
    }
    got = carl.product(progress, events, {"offlane": 0.5, "rush": 0.8})
    torch.testing.assert_close(got, torch.tensor([0.1, 0.2 * 0.4, 0.05, 0.0]))
    torch.testing.assert_close(carl.product(progress, events, {}), progress)


def test_an_episode_lasts_up_to_its_first_hard_event() -> None:
    event = torch.tensor(
        [[0.0, 0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0, 0.0]]
    )
    assert carl.until(event).long().sum(-1).tolist() == [3, 5, 1]


@pytest.mark.parametrize(
    ("arguments", "want"), [({}, "progress"), ({"design": "sum", "terminate": False}, "shaped")]
)
def test_the_proxy_of_a_step_is_the_testbed_s_own_where_both_have_it(
    arguments: dict[str, Any], want: str
) -> None:
    """The sum's default weights are those of the testbed's shaped proxy; a product without
    infractions is the progress.
    """
    w = world(testbed="road", pairs=20)
    step = next(
        carl.recipe(w.task, **arguments, offlane=1.0, rush=1.0)
        if not arguments
        else carl.recipe(w.task, **arguments)
    )
    x = acting(w.task.reference).sample(w.held_out, 8, Rng(0))
    judges = dict(zip(w.task.rewards.names, w.task.rewards(x), strict=True))
    assert step.reward is not None
    clean = (
        judges["collision"] == 0
        if not arguments
        else torch.ones_like(judges["collision"], dtype=torch.bool)
    )
    torch.testing.assert_close(step.reward(x)[clean], judges[want][clean])
    assert int(clean.sum()) > 0 and (bool(arguments) or int((~clean).sum()) > 0)


def test_nothing_is_learned_from_what_comes_after_a_hard_event() -> None:
    """The first step changes the states before a collision, and with `terminate` no others."""
    w = world(testbed="road", pairs=20)
    loop = Loop(max_steps=1, batch_size=16, num_generations=4, epochs=2, learning_rate=0.1)
    before = acting(w.task.reference)
    x = before.sample(w.task.batch(loop, 0), 4, w.task.rng("sample", 0))
    hit = w.task.rewards.only([w.task.rewards.names.index("collision")]).steps(x)[0]
    on = x.mask & carl.until(hit)
    alive = {*states(x)[..., :-1][on].tolist()}
    assert {*states(x)[..., :-1][x.mask].tolist()} - alive, (
        "some states come after a collision only"
    )
    for terminate in (True, False):
        task = w.task.replaced(carry=Carry())
        step = next(carl.recipe(task, terminate=terminate, crash=0.1, loop=loop))
        moved = (acting(step.policy).logits != before.logits).any(-1)  # type: ignore[arg-type]
        assert ({*moved.nonzero()[:, 0].tolist()} <= alive) == terminate


def test_permuted_penalties_are_the_penalties_of_other_states() -> None:
    w = world(testbed="road", pairs=20)
    process = acting(w.task.reference).process
    x = process.every()
    y = carl.elsewhere(x, process, Rng(3))
    first = states(x)[..., 0]
    ends = process.terminal[first]
    assert torch.equal(states(y)[..., 0][ends], first[ends]) and not torch.equal(
        states(y)[..., 0], first
    )
    assert sorted(states(y)[..., 0].flatten().tolist()) == sorted(first.flatten().tolist())
    loop = Loop(max_steps=1, batch_size=4, num_generations=4)
    plain, permuted = (
        next(carl.recipe(w.task.replaced(carry=Carry()), permute=k, loop=loop))
        for k in (False, True)
    )
    assert plain.reward is not None and permuted.reward is not None
    z = acting(w.task.reference).sample(w.held_out, 8, Rng(0))
    assert not torch.equal(plain.reward(z), permuted.reward(z))


def test_the_wrong_world_is_one_sentence() -> None:
    bag, tomato = world(pairs=20, demos=5), world(testbed="tomato", pairs=20, members=2)
    with pytest.raises(Missing, match="no term 'progress'"):
        next(carl.recipe(tomato.task))
    for recipe in (barfi.recipe, reward_design.recipe, correlated_proxies.recipe):
        with pytest.raises(InputError, match="needs a decision process"):
            next(recipe(bag.task))
    with pytest.raises(InputError, match="below 1"):
        next(reward_design.recipe(tomato.task))
    wrong: tuple[tuple[Any, str], ...] = (
        (carl, "design"),
        (barfi, "blend"),
        (reward_design, "design"),
        (correlated_proxies, "of"),
    )
    for module, flag in wrong:
        with pytest.raises(InputError, match="'x'"):
            next(module.recipe(tomato.task, **{flag: "x"}))
    step = next(correlated_proxies.recipe(bag.task, of="sequence", lam=0.1, released=True))
    assert step.stats["skipped"] == 0
