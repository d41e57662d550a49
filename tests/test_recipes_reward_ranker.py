"""RewardRanker: which failures are mined, what the ranker learns, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_contract import SMALL, drive, small_world

from assay.core import Carry, Loop, Rng
from assay.errors import InputError
from assay.loops.ranker import Ranker, joined, mined
from assay.models.policies.table import TablePolicy
from assay.recipes import reward_ranker

POLICY = TablePolicy(torch.zeros(1, 4), length=2)
X = POLICY.sample(POLICY.prompts(torch.zeros(3, dtype=torch.int64)), 4, Rng(1)("x"))
PASSED = torch.tensor([[True, False, False, False], [True, True, False, False], [True] * 4])
SCORES = torch.tensor([[0.0, 3.0, 1.0, 2.0], [0.0, 0.0, -1.0, -2.0], [0.0] * 4])


def of(pairs: Any) -> list[list[int]]:
    """Which completions the pairs are, found by their tokens."""
    return pairs.action.flatten(1).tolist()


def test_hard_failures_are_those_of_highest_score() -> None:
    pairs = mined(X, PASSED, SCORES, per_prompt=2, mine="hard", rng=Rng(2)("m"))
    assert pairs is not None and len(pairs) == 4, "a prompt without a failure has no pair"
    assert pairs.prompts.row.tolist() == X.prompts.row[torch.tensor([0, 0, 1, 1])].tolist()
    worse = torch.stack([X.action[0, 1], X.action[0, 3], X.action[1, 2], X.action[1, 3]])
    assert torch.equal(pairs.action[:, 1], worse)
    assert torch.equal(pairs.action[:2, 0], X.action[0, [0, 0]])
    one = mined(X, PASSED, SCORES, per_prompt=1, mine="hard", rng=Rng(2)("m"))
    assert one is not None and torch.equal(one.action[:, 1], worse[[0, 2]])


def test_random_failures_do_not_read_the_score() -> None:
    rng = Rng(2)("m")
    a, b = (mined(X, PASSED, s, per_prompt=2, mine="random", rng=rng) for s in (SCORES, -SCORES))
    assert a is not None and b is not None and of(a) == of(b)
    assert mined(X, PASSED | True, SCORES, per_prompt=2, mine="random", rng=rng) is None
    both = joined(a, b)
    assert both is not None and len(both) == 8 and joined(None, a) is a and joined(a, None) is a


def test_the_ranker_learns_which_pass() -> None:
    world = small_world(reward_ranker)
    task = world.task.replaced(carry=Carry())
    ranker = Ranker(task, Loop(batch_size=16, learning_rate=0.003), by="reward_ranker")
    x = task.reference.sample(task.prompts, 16, Rng(4)("x"))
    passed = task.rewards.only([0])(x)[0] > 0.5
    before = ranker.accuracy(x, passed)
    pairs = mined(x, passed, ranker(x), per_prompt=4, mine="random", rng=Rng(5)("m"))
    assert pairs is not None
    ranker.learn(pairs, 60, Rng(6)("learn"))
    assert ranker.accuracy(x, passed) > max(before, 0.6)
    upside = ranker.accuracy(x, ~passed)
    assert upside == pytest.approx(1 - ranker.accuracy(x, passed))


LOOP = replace(SMALL, max_steps=3, num_generations=8, learning_rate=0.003)


def stats(**given: Any) -> list[dict[str, Any]]:
    own = {"round_steps": 2, "ranker_steps": 4, **given}
    return [
        r["stats"]
        for r in drive(reward_ranker, small_world(reward_ranker), own, loop=LOOP)
        if r["tag"] != "best"
    ]


def test_rounds_begin_where_they_should_and_pairs_add_up() -> None:
    _, first, second, third = stats()
    assert "ranker/pairs" in first and "ranker/pairs" not in second
    assert third["ranker/pairs"] > first["ranker/pairs"]
    assert "ranker/pairs" not in stats(mine="none")[3]
    started = stats(adversary="reference")
    assert started[1]["ranker/loss"] == first["ranker/loss"], "the first round is the same"
    assert started[3]["ranker/accuracy"] != third["ranker/accuracy"]
    assert stats(label="coin")[1]["ranker/loss"] != first["ranker/loss"]


def test_each_round_trains_a_new_policy_and_critic_unless_they_go_on() -> None:
    _, first, second, third = stats()
    assert first["kl"] < 1e-12 and second["kl"] > 0.001, "PPO leaves the reference"
    assert third["kl"] < 1e-12, "the second round begins at it"
    assert third["value_loss"] > second["value_loss"], "with a critic that knows nothing"
    onward = stats(onward=True)
    assert onward[2]["kl"] == pytest.approx(second["kl"]) and onward[3]["kl"] > second["kl"]
    assert onward[3]["ranker/accuracy"] == third["ranker/accuracy"], (
        "failures are the trained one's"
    )
    assert onward[3]["value_loss"] != third["value_loss"]


def test_no_rival_of_the_claim_learns_from_fewer_verdicts() -> None:
    """Its third rival learned no more after the first round: a third of verdicts and updates."""
    for arm, (_, constants) in reward_ranker.claim.arms.items():
        assert constants.get("mine") != "none", arm
    assert not {"generated", "scored", "updates"} & set(reward_ranker.claim.differs)


def test_constants_out_of_range_are_said() -> None:
    for given, said in (({"rerank": -1}, "--rerank -1"), ({"round_steps": 0}, "round-steps is 0")):
        with pytest.raises(InputError, match=said):
            stats(**given)
