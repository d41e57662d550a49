"""The implicit process reward: what it is worth, and what lag does to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from assay.core import Carry, InputError, Loop, Rng
from assay.formulas.occupancy import action_values
from assay.models.policies.markov import MarkovPolicy, acting
from assay.models.process import states
from assay.recipes import online_process
from assay.worlds.table import world
from assay.worlds.visits import VisitReward

LOOP = Loop(max_steps=12, batch_size=8, num_generations=8, learning_rate=0.8)


def correlations(**arguments: Any) -> list[float]:
    """The recorded correlations of a run in the chain, in which half of the groups differ."""
    task = world(testbed="chain", horizon=40, seed=2).task.replaced(carry=Carry())
    run = online_process.recipe(task, alpha=0.05, prm_lr=0.5, loop=LOOP, **arguments)
    said = [s.stats.get("prm/advantage_correlation") for s in run]
    return [c for c in said if c is not None]


def test_the_advantage_itself_agrees_with_the_advantage() -> None:
    w = world(testbed="grid", seed=0)
    policy = acting(w.task.reference)
    p, pi = policy.process, policy.probs().detach()
    x = policy.sample(w.task.prompts[:4], 6, Rng(1))
    R = w.task.rewards.only([0]).steps(p.every())[0].reshape(pi.shape).double()
    Q = action_values(pi, p.P, R, horizon=p.horizon, gamma=p.gamma)
    at = states(x)[..., :-1]
    V = (pi * Q).sum(-1)
    t = torch.arange(at.shape[-1]).expand(at.shape)
    exact = Q[t, at, x.action] - V[t, at]
    mixed = torch.arange(6).float().expand(4, 6)
    for r, sign in ((exact, 1.0), (-3 * exact, -1.0)):
        found = online_process.agreement(w.task, policy, x, r.float(), mixed, 0)
        assert found["prm/advantage_correlation"] == pytest.approx(sign, abs=1e-4)
    assert online_process.agreement(w.task, policy, x, exact, torch.ones(4, 6), 0) == {}


def test_a_fresh_process_reward_agrees_with_the_advantage_and_a_late_one_does_not() -> None:
    kept, fresh = (correlations(prm_reset=r) for r in (False, True))
    assert sum(fresh) / len(fresh) > 0.1 + sum(kept) / len(kept)


def test_the_room_that_the_claim_counts_on_ends_at_the_best_policy() -> None:
    """Backward induction over the claim's own grid."""
    claim: Any = online_process.claim
    found = world(**claim.on["table"], seed=0)
    reference, gold = found.task.reference, found.gold
    assert isinstance(reference, MarkovPolicy) and isinstance(gold, VisitReward)
    p, value = reference.process, torch.zeros(len(reference.process.states), dtype=torch.float64)
    for _ in range(p.horizon):
        value = (gold.table[0].double() + p.gamma * p.P @ value).amax(-1)
    assert float(p.start @ value) == pytest.approx(online_process.BEST, abs=1e-3)
    assert claim.least["room"] > claim.least["over outcome"]


def test_several_updates_of_the_process_reward_are_at_least_one() -> None:
    with pytest.raises(InputError, match="at least 1 update"):
        next(online_process.recipe(world(testbed="chain").task, prm_updates=0, loop=LOOP))
