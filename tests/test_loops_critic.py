"""The critic that PPO's family shares: K heads are K critics, and values come to their returns."""

from __future__ import annotations

import pytest
import torch

from assay.core import Carry, Loop, Samples, Task, World
from assay.formulas.advantage import returns_to_go
from assay.loops import Critic, Gae, at_the_end, reference_kl
from assay.worlds.table import world

LOOP = Loop(batch_size=8, num_generations=8, epochs=2, learning_rate=0.05)


@pytest.fixture(scope="module")
def bag() -> World:
    return world(pairs=40, members=2, demos=5)


def drawn(bag: World) -> tuple[Task, Samples]:
    task = bag.task.replaced(carry=Carry())
    return task, task.reference.sample(task.batch(LOOP, 0), 8, task.rng("sample", 0))


def test_a_score_is_paid_once_at_the_last_own_decision(bag: World) -> None:
    _, x = drawn(bag)
    mask = x.mask.clone()
    mask[0, 0, 5:], mask[1, 1] = False, False  # one ends early, one is absent
    x = Samples(x.prompts, x.action, mask, x.given, x.logp, x.ended)
    score = torch.randn(mask.shape[:2])
    paid = at_the_end(score, x)
    here = mask.any(-1)
    torch.testing.assert_close(paid.sum(-1)[here], score[here])
    assert float(paid[0, 0, 4]) == float(score[0, 0]) and int((paid != 0).sum()) == int(here.sum())


def test_at_lambda_one_an_advantage_is_the_return_less_the_value(bag: World) -> None:
    task, x = drawn(bag)
    critic = Critic(task, LOOP, by="a test", gae=Gae(lam=1.0))
    rewards = torch.randn(x.mask.shape)
    values = critic.head(x)[..., :-1, 0].detach()
    advantage, _ = critic.learn(rewards[..., None], x, 0)
    torch.testing.assert_close(advantage[..., 0], returns_to_go(rewards, x.mask) - values)


def test_every_head_is_a_critic_of_its_own_reward(bag: World) -> None:
    """Head 0 of three sees and learns what a single head does, whatever stands beside it."""
    task, x = drawn(bag)
    paid = at_the_end(task.rewards(x)[0], x)
    alone, beside = (
        Critic(task.replaced(carry=Carry()), LOOP, by="a test", heads=k) for k in (1, 3)
    )
    other = torch.stack([paid, torch.zeros_like(paid), -reference_kl(task, x)], -1)
    for step in range(5):
        a, _ = alone.learn(paid[..., None], x, step)
        b, _ = beside.learn(other, x, step)
        torch.testing.assert_close(a[..., 0], b[..., 0], rtol=1e-4, atol=1e-5)
    assert float((b[..., 0] - b[..., 1]).abs().max()) > 0.1


def test_values_come_to_their_returns(bag: World) -> None:
    task, x = drawn(bag)
    critic = Critic(task, LOOP, by="a test")
    paid = at_the_end(torch.full(x.mask.shape[:2], 2.0), x)[..., None]
    losses = [critic.learn(paid, x, step)[1]["value_loss"] for step in range(80)]
    assert losses[-1] < 0.05 * losses[0], "every return is 2, so every value can be"
    state = task.carry.state()["kept"]
    assert {"critic", "critic_opt"} <= set(state), "a resumed run goes on with the same critic"
