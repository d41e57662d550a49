"""The critic that PPO's family shares: K heads are K critics, and values come to their returns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import Carry, Loop, Reward, Samples, Task, World
from assay.formulas.advantage import returns_to_go
from assay.loops import Critic, Gae, at_the_end, reference_kl
from assay.loops.critic import Scale
from assay.recipes import carl, constrained, policy_filtration, ppo
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
    before = critic.head(x)[..., :-1, 0].detach()
    advantage, _ = critic.learn(rewards[..., None], x, 0)
    values = (critic.scale.mean + critic.scale.deviation * before).to(rewards)
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
    paid = torch.full(x.mask.shape, 40.0)[..., None]
    losses = [critic.learn(paid, x, step)[1]["value_loss"] for step in range(80)]
    assert losses[-1] < 0.05 * losses[0], "returns depend on the time alone, and values can"
    state = task.carry.state()["kept"]
    assert {"critic", "critic_opt", "critic_scale"} <= set(state), "a resumed run goes on with it"


def test_equal_returns_are_known_from_the_first_batch_on(bag: World) -> None:
    """Nothing is better than anything else, so no advantage is left over to be whitened."""
    task, x = drawn(bag)
    critic = Critic(task, LOOP, by="a test", gae=Gae(lam=1.0))
    paid = at_the_end(torch.full(x.mask.shape[:2], 0.1), x)[..., None]
    advantage, stats = critic.learn(paid, x, 0)
    assert float(advantage.abs().max()) < 1e-6 and stats["value_loss"] < 0.01


def test_the_scale_follows_mean_and_deviation_and_forgets() -> None:
    scale = Scale(2)
    first = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)).double()
    scale.see(first)
    torch.testing.assert_close(scale.mean, first.mean(0))
    torch.testing.assert_close(scale.deviation, first.std(0, correction=0))
    scale.see(torch.zeros(0, 2))
    assert scale.batches == 1
    for _ in range(600):
        scale.see(torch.tensor([50.0, 1e6]) + 7 * first)
    torch.testing.assert_close(scale.mean, 7 * first.mean(0) + torch.tensor([50.0, 1e6]).double())
    torch.testing.assert_close(scale.deviation, 7 * first.std(0, correction=0))
    again = Scale(2)
    again.load_state_dict(scale.state_dict())
    assert torch.equal(again.deviation, scale.deviation)


class Times:
    """The same reward in another unit."""

    def __init__(self, reward: Reward, unit: float):
        self.reward, self.unit = reward, unit
        self.names, self.partial = tuple(reward.names), reward.partial

    def __call__(self, samples: Samples) -> Tensor:
        return self.unit * self.reward(samples)


# what else stands in units of the reward: a price on KL and proxy points; multipliers move by it
RUNS: dict[str, tuple[Any, str, Any]] = {
    "ppo": (ppo.recipe, "bag", lambda c: {"beta": 0.3 * c}),
    "policy_filtration": (
        policy_filtration.recipe,
        "bag",
        lambda c: {"rule": "best_worst", "beta": 0.3 * c},
    ),
    "constrained": (
        constrained.recipe,
        "bag",
        lambda c: {"points": [1.0 * c, 0.5 * c], "dual": 0.5 / c},
    ),
    "constrained, static weights": (constrained.recipe, "bag", lambda c: {"mode": "fixed"}),
    "carl": (
        carl.recipe,
        "road",
        lambda c: {
            "design": "sum",
            "w_progress": 5.0 * c,
            "w_centre": 0.5 * c,
            "w_comfort": 0.5 * c,
            "w_collision": 4.0 * c,
        },
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_reward_in_other_units_gives_the_same_run(name: str) -> None:
    """To the last bit, for powers of two. Other factors are rounded, and a sample that falls on the
    other side of a threshold goes its own way.
    """
    recipe, testbed, arguments = RUNS[name]
    w = world(testbed=testbed, pairs=40, members=2, demos=5)
    loop = Loop(max_steps=6, batch_size=8, num_generations=8, epochs=2, learning_rate=0.1)

    def ends(unit: float) -> Tensor:
        task = w.task.replaced(carry=Carry())
        if testbed == "bag":  # the road's sum has weights of its own
            task = task.replaced(rewards=Times(w.task.rewards, unit))
        *_, last = recipe(task, **arguments(unit), loop=loop)
        return torch.cat([p.detach().flatten() for p in last.policy.parameters()])

    one = ends(1.0)
    before = torch.cat([p.flatten() for p in w.task.reference.parameters()])
    assert float((one - before).abs().max()) > 0.1
    assert torch.equal(one, ends(16.0)) and torch.equal(one, ends(1 / 16))


def test_advantages_stand_in_the_reward_s_unit(bag: World) -> None:
    """A reward times 20 has advantages times 20, now and after the values were fitted."""
    task, x = drawn(bag)
    paid = at_the_end(task.rewards(x)[0], x)[..., None]
    one, other = (Critic(task.replaced(carry=Carry()), LOOP, by="a test") for _ in range(2))
    for step in range(5):
        a, stats = one.learn(paid, x, step)
        b, same = other.learn(20 * paid, x, step)
        torch.testing.assert_close(20 * a, b, rtol=1e-3, atol=1e-3)
        assert same["value_loss"] == pytest.approx(stats["value_loss"], rel=1e-3)
