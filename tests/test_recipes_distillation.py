"""Laws of reward distillation: its optimum, its pessimism, and which member it takes."""

from __future__ import annotations

import pytest
import torch
from test_recipes_offline_laws import first, steps, table, task_of

from assay.engine.descend import micro_batches
from assay.formulas.divergence import kl_full
from assay.models.policies.table import TablePolicy
from assay.recipes import (
    reward_distillation,
)
from assay.rewards.linear import LinearReward


def judged(reference: TablePolicy, judges: int = 1) -> LinearReward:
    return LinearReward(
        torch.randn(judges, *reference.logits.shape, dtype=torch.float64),
        tuple(f"judge{m}" for m in range(judges)),
    )


def test_distillation_is_zero_at_the_gibbs_policy_and_finds_it() -> None:
    reference = table(V=5, length=1)
    reward = judged(reference)
    task = task_of(reference, 200, rewards=reward)
    gibbs = reference.tilted(reward.table[0], beta=0.5)
    gap = reward(task.pairs)[0]
    ratio = (gibbs.logp(task.pairs) - reference.logp(task.pairs)).detach().sum(-1)
    zero = reward_distillation.distance(
        ratio[:, 0], ratio[:, 1], (gap[:, 0] - gap[:, 1])[:, None], beta=0.5
    )
    assert float(zero.max()) < 1e-20
    found = steps(
        reward_distillation, task, {"beta": 0.5, "least": "batch"}, 150, learning_rate=0.1
    )[-1].policy
    torch.testing.assert_close(
        found.logits.softmax(-1), gibbs.logits.softmax(-1), rtol=0, atol=2e-3
    )


def test_a_gibbs_policy_is_worth_beta_times_its_forward_kl_to_its_own_reward() -> None:
    """E_π_r r − E_π₀ r − β·KL(π_r‖π₀) = β·KL(π₀‖π_r), exactly: so a pessimist takes the member
    nearest in forward KL.
    """
    reference = table(V=7, length=1)
    for beta in (0.1, 1.0, 5.0):
        r = judged(reference).table[0]
        gibbs = reference.tilted(r, beta=beta)
        p, q = gibbs.logits.softmax(-1), reference.logits.softmax(-1)
        value = (p * r).sum(-1) - (q * r).sum(-1) - beta * kl_full(gibbs.logits, reference.logits)
        torch.testing.assert_close(value, beta * kl_full(reference.logits, gibbs.logits))


def test_which_judge_is_nearest_is_settled_over_what_it_says() -> None:
    reference = table(V=5, length=1)
    task = task_of(reference, 40, rewards=judged(reference, 3))
    over = reward_distillation.OVER
    losses = {
        least: first(reward_distillation, task, {"beta": 0.5, "least": least})["loss"]
        for least in over
    }
    gaps = (lambda s: s[:, :, 0] - s[:, :, 1])(
        task.rewards(task.pairs)
    ).square()  # at the reference Δ = 0
    assert losses["data"] == pytest.approx(float(gaps.mean(1).min())), "one judge for all pairs"
    assert losses["batch"] == losses["data"], "the batch is the data here"
    assert losses["example"] == pytest.approx(float(gaps.min(0).values.mean()))
    assert losses["example"] < losses["data"]
    one = {
        least: first(reward_distillation, task, {"beta": 0.5, "least": least, "members": 1})["loss"]
        for least in over
    }
    assert len(set(one.values())) == 1
    for least in ("batch", "data"):
        whole = steps(reward_distillation, task, {"beta": 0.2, "least": least}, 4, batch_size=10)[
            -1
        ].policy.logits
        with micro_batches(3):
            parts = steps(
                reward_distillation, task, {"beta": 0.2, "least": least}, 4, batch_size=10
            )[-1].policy.logits
        torch.testing.assert_close(parts, whole)


def test_pessimism_holds_on_to_the_reference_s_own_answers() -> None:
    reference = table(V=12, length=1)
    task = task_of(reference, 30)
    ends = [
        steps(
            reward_distillation,
            task,
            {"binary": True, "beta": 0.05, "gamma": g},
            60,
            learning_rate=0.2,
        )[-1].policy
        for g in (0.0, 0.05, 5.0)
    ]
    forward = [float(kl_full(reference.logits, p.logits.detach()).mean()) for p in ends]
    assert forward[0] > 2 * forward[1] > 2 * forward[2], "in forward KL"
