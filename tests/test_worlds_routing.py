"""World routing: what solvers reply, where replies stand, and what a completion is worth."""

from __future__ import annotations

import json

import pytest
import torch
from small import SIZES, _built

from assay.core import Rng, World
from assay.errors import InputError
from assay.models.policies.replying import Replying
from assay.worlds.routing import (
    KINDS,
    SKILL,
    SOLVERS,
    VOCABULARY,
    RoutingConfig,
    Solvers,
    Verifier,
    _question,
    _read,
)


@pytest.fixture(scope="module")
def world() -> World:
    return _built("routing", json.dumps(SIZES["routing"]))


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("small 3 answer 7", (1.0, 1.0, 1.0)),
        ("small 3 large 7 answer 3", (0.0, 1.0, 10.0)),
        ("answer 7", (1.0, 1.0, 0.0)),
        ("expert 7", (0.0, 0.0, 3.0)),
        ("answer 7 answer 7", (0.0, 0.0, 0.0)),
        ("small medium 7 answer 7", (0.0, 0.0, 4.0)),
        ("", (0.0, 0.0, 0.0)),
    ],
)
def test_completions_to_a_question_whose_answer_is_seven(text: str, worth: tuple) -> None:
    assert _read(text, 7, True) == worth
    assert _read(text, 7, False) == (0.0, 0.0, worth[2]), "what was cut off has no form"


def test_solvers_are_right_by_their_skill_and_otherwise_evenly_wrong() -> None:
    solvers, n = Solvers(Rng(5)("x")), 4000
    for k, kind in enumerate(KINDS):
        prompts = VOCABULARY.prompts([_question(k * 10_000 + i) for i in range(n)])
        calls = torch.tensor(VOCABULARY.calls).expand(n, len(SOLVERS))
        right = solvers.right(prompts.text())[:, None]
        said = solvers(prompts, calls, Rng(6)(kind), torch.zeros_like(calls)) - VOCABULARY.ids["0"]
        again = solvers(prompts, calls, Rng(6)(kind), torch.ones_like(calls)) - VOCABULARY.ids["0"]
        for s, name in enumerate(SOLVERS):
            hit = said[:, s] == right[:, 0]
            assert float(hit.double().mean()) == pytest.approx(SKILL[name][k], abs=0.03)
            off = ((said[:, s] - right[:, 0]) % 10)[~hit]
            assert off.min() == 1 and off.max() == 9
        assert bool((said != again).any()), "asked again, a solver draws again"
    deaf = Solvers(Rng(5)("x"), deaf=True)
    heard = deaf(prompts, calls, Rng(6)("d"), torch.zeros_like(calls)) - VOCABULARY.ids["0"]
    assert float((heard == right).double().mean()) == pytest.approx(0.1, abs=0.03)


def test_replies_follow_calls_and_are_no_decisions(world: World) -> None:
    policy = world.task.reference
    assert isinstance(policy, Replying)
    x = policy.sample(world.task.prompts, 8, Rng(2)("x"))
    calls = torch.isin(x.action, torch.tensor(VOCABULARY.calls)) & x.mask
    assert bool(calls.any()) and not bool((x.mask & x.given).any())
    answered = x.given[..., 1:]
    assert bool((calls[..., :-1] >= answered).all()), "every reply follows a call"
    turns = SIZES["routing"]["turns"]
    assert int(x.given.sum(-1).max()) <= turns
    unanswered = calls.sum(-1) > x.given.sum(-1)
    assert not bool((unanswered & x.ended).any()), "a call that nobody answers ends nothing"
    digits = x.action[x.given] - VOCABULARY.ids["0"]
    assert bool(((digits >= 0) & (digits < 10)).all())
    torch.testing.assert_close(policy.logp(x), x.logp)
    assert bool((policy.logp(x)[x.given] == 0).all())
    again = policy.sample(world.task.prompts, 8, Rng(2)("x"))
    assert torch.equal(again.action, x.action), "a function of the address"
    half = policy.sample(world.task.prompts[torch.arange(3, 6)], 8, Rng(2)("x")[torch.arange(3, 6)])
    T = half.action.shape[2]
    assert torch.equal(half.action, x.action[3:6, :, :T])
    copied = policy.copy()
    assert copied.turns == policy.turns and copied.replies is policy.replies


def test_rewards_gold_and_facts(world: World) -> None:
    x = world.task.reference.sample(world.held_out, 8, Rng(3)("x"))
    score, formed, cost = world.task.rewards(x)
    assert bool((formed >= score).all()) and float(score.mean()) > 0 and float(cost.mean()) > 0
    assert world.gold is not None and torch.equal(world.gold(x), torch.stack([score, cost]))
    assert torch.equal(Verifier(world.task.reference.replies, ("cost",))(x)[0], cost)
    assert world.facts is not None
    facts = world.facts(world.task.reference)
    assert facts["one/single"] == pytest.approx((0.95 + 0.7 + 0.7) / 3)
    assert facts["one/kind"] == pytest.approx((0.95 + 0.9 + 0.7) / 3)
    assert not set(world.held_out.text()) & set(world.task.prompts.text())


def test_constants_out_of_range() -> None:
    with pytest.raises(InputError, match="give at most 7500"):
        RoutingConfig(prompts=9000)
    with pytest.raises(InputError, match="turns"):
        RoutingConfig(turns=0)
