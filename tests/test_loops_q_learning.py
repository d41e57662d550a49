"""Tabular Q-learning: one update by hand, and what it finds where the optimum is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from assay.core import Carry, InputError, Loop
from assay.formulas.occupancy import optimal_values
from assay.loops.q_learning import act
from assay.models.policies.markov import acting
from assay.recipes import reward_design
from assay.worlds.table import world

LOOP = Loop(max_steps=3, batch_size=4, num_generations=2, learning_rate=0.5)


def run(loop: Loop, carry: Carry, **arguments: Any) -> list[Any]:
    w = world(testbed="chain", seed=1)
    task = w.task.replaced(carry=carry)
    arguments = {"design": "none", "learner": "q", **arguments}
    return list(reward_design.recipe(task, loop=loop, **arguments))


def table_of(carry: Any) -> torch.Tensor:
    """The action values that a run keeps."""
    values: torch.Tensor = carry.values
    return values


def test_the_policy_is_epsilon_greedy_and_shares_ties() -> None:
    policy = acting(world(testbed="chain").task.reference).copy()
    values = torch.zeros(policy.logits.shape, dtype=torch.float64)
    values[0] = torch.tensor([1.0, 2.0])
    act(policy, values, 0.2)
    expected = torch.tensor([[0.1, 0.9], [0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(policy.probs().detach()[:2], expected, atol=1e-6, rtol=0)


def test_nothing_is_learnt_before_a_reward_is_met_and_then_it_is_the_formula() -> None:
    """The decoy at the left end pays 0.1: its value moves by η·(0.1 − Q) each time."""
    carry = Carry()
    run(replace(LOOP, max_steps=1, batch_size=16, num_generations=8), carry, epsilon=1.0)
    values = table_of(carry)
    met = values[0][values[0] > 0]  # x00 pays 0.1 for any action and ends the episode
    powers = 0.1 * (1 - 0.5 ** torch.arange(1, 200, dtype=torch.float64))
    assert len(met) and all(float((powers - m).abs().min()) < 1e-12 for m in met)


def test_q_learning_finds_the_optimum_s_actions_where_it_walks() -> None:
    w = world(testbed="chain", seed=1)
    carry = Carry()
    loop = Loop(max_steps=60, batch_size=16, num_generations=8, learning_rate=0.2)
    run(loop, carry, epsilon=1.0)
    values = table_of(carry)
    p = acting(w.task.reference).process
    R = w.task.rewards.only([0]).steps(p.every())[0].reshape(values.shape).double()
    best = optimal_values(p.P, R, gamma=p.gamma).argmax(-1)
    assert bool((values.argmax(-1) == best)[6:17].all())


def test_a_potential_leaves_q_learning_its_optimum() -> None:
    """What is learnt is Q*(s,a) − Φ(s): a −Φ(s) at the horizon, where the learner bootstraps, would
    be paid at a random time.
    """
    w = world(testbed="chain", seed=1)
    p = acting(w.task.reference).process
    R = w.task.rewards.only([0]).steps(p.every())[0].double()
    best = optimal_values(p.P, R.reshape(p.P.shape[:2]), gamma=p.gamma)
    loop = Loop(max_steps=60, batch_size=16, num_generations=8, learning_rate=0.2)
    for potential, level in (("optimal", best.amax(-1)), ("adversarial", -best.amax(-1))):
        carry = Carry()
        run(loop, carry, design="potential", potential=potential, epsilon=1.0)
        values = table_of(carry) + level[:, None]
        assert bool((values.argmax(-1) == best.argmax(-1))[6:17].all())
        torch.testing.assert_close(values[6:17], best[6:17], atol=0.1, rtol=0)


def test_a_resumed_run_goes_on_with_its_table() -> None:
    whole, cut = Carry(), Carry()
    run(LOOP, whole)
    run(replace(LOOP, max_steps=2), cut)
    again = Carry(cut.state())
    run(LOOP, again)
    assert torch.equal(table_of(again), table_of(whole))


def test_an_unknown_learner_is_refused() -> None:
    with pytest.raises(InputError, match="one of gradient, q"):
        next(reward_design.recipe(world(testbed="chain").task, learner="sarsa", loop=LOOP))
