"""A row's condition is its own and nobody else's; corners of a soup; the family's grid; the area by
hand.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import small_world
from test_contract import SMALL

from assay.core import Carry, InputError, Rng
from assay.models.policies.conditioned import Conditioned, output
from assay.recipes import conditioned_policies
from assay.recipes.conditioned_policies import area, drawn, edges, recipe


def world():
    return small_world(conditioned_policies)


def conditioned(w, **how):
    policy = Conditioned(w.task.reference, 2, **how)
    for d in policy.delta:
        d.data = torch.randn(d.shape, generator=torch.Generator().manual_seed(1)).to(d)
    return policy


def prompted(w, condition):
    return replace(w.task.prompts[: len(condition)], extra={"condition": torch.tensor(condition)})


def test_each_row_has_the_policy_of_its_own_condition():
    w = world()
    policy, rows = conditioned(w), [[1.0, 0.0], [0.3, 0.7], [1.0, 0.0], [0.0, 0.0]]
    x = policy.sample(prompted(w, rows), 5, Rng(2))
    lp = policy.logp(x)
    torch.testing.assert_close(lp.detach(), x.logp)
    for b, c in enumerate(rows):
        one = policy.at(torch.tensor(c))
        torch.testing.assert_close(lp[b : b + 1].detach(), one.logp(x[b : b + 1]))
        alone = one.sample(w.task.prompts[: len(rows)], 5, Rng(2))
        assert torch.equal(x.action[b], alone.action[b])  # its addresses too are its own
    torch.testing.assert_close(policy.at(torch.zeros(2)).logits, w.task.reference.logits)


def test_gradients_reach_the_condition_s_own_delta_alone():
    w = world()
    policy = conditioned(w, shared=False)
    x = policy.sample(prompted(w, [[1.0, 0.0], [1.0, 0.0]]), 3, Rng(0))
    (g,) = torch.autograd.grad(policy.logp(x).sum(), list(policy.delta))
    assert float(g[0].abs().sum()) > 0 and float(g[1].abs().sum()) == 0
    assert not any(p.requires_grad for p in policy.base.parameters())


def test_the_output_layer_is_found_by_name():
    assert output(["a.embed_tokens.weight", "lm_head.weight", "norm.weight"]) == "lm_head.weight"
    assert (
        output(["a.embed_tokens.weight", "norm.weight"]) == "a.embed_tokens.weight"
        and output(["logits"]) == "logits"
    )


def test_halfway_between_corners_is_the_geometric_mean_in_a_table():
    policy = conditioned(world())
    a, b, m = (
        policy.at(torch.tensor(c)).logits.log_softmax(-1)
        for c in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5])
    )
    torch.testing.assert_close(m, (0.5 * (a + b)).log_softmax(-1))


def test_the_grid_and_the_draws():
    assert edges(2, 5).tolist() == [[1, 0], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0, 1]]
    assert edges(3, 3).shape == (7, 3) and torch.allclose(edges(3, 3).sum(-1), torch.ones(7))
    prompts = world().task.prompts
    for family in conditioned_policies.FAMILIES:
        code, w = drawn(
            family,
            edges(2, 5),
            torch.eye(5) if family == "specialists" else edges(2, 5),
            3,
            prompts,
            Rng(1),
            2,
        )
        assert torch.allclose(w.sum(-1), torch.ones(len(prompts))) and (w >= 0).all()
        assert len(torch.unique(w, dim=0)) == (2 if family == "soups" else 3)
        assert (code.shape[1] == 5) == (family == "specialists")


def test_weights_steer():
    w = world()
    task = w.task.replaced(carry=Carry(), rng=Rng(0))
    *_, last = recipe(
        task, beta=0.3, grid=3, loop=replace(SMALL, max_steps=60, batch_size=8, num_generations=16)
    )
    x = [task.rewards(s.policy.sample(task.prompts, 200, Rng(1)))[:2].mean((1, 2)) for s in last]
    assert x[0][0] > x[1][0] > x[2][0] and x[0][1] < x[1][1] < x[2][1]
    assert [s.tag for s in last] == ["w=1,0", "w=0.5,0.5", "w=0,1"]
    assert (
        abs(float(last[0].reward(task.reference.sample(task.prompts, 4000, Rng(5))).mean())) < 0.1
    )  # standardised at the start


def test_the_area_by_hand():
    def at(a, b, tag="w=1,0", step=3):
        return {"rewards": [a, b], "tag": tag, "step": step}

    rows = [
        at(1, 1, "reference", 0),
        at(9, 9, step=2),
        at(4, 2),
        at(2, 3),
        at(0, 9),
        at(2, 2),
        at(9, 9, "best", 2),
    ]
    assert area(rows) == pytest.approx(
        3 * 1 + 1 * 1
    )  # (3,1) and (1,2); (−1,8) lies outside, (1,1) is covered


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"family": "pareto"}, "--family is 'pareto'"),
        ({"members": 1}, "--members is 1"),
        ({"parts": "attention"}, "parts is 'attention'"),
    ],
)
def test_what_cannot_be_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        next(iter(recipe(world().task.replaced(carry=Carry()), loop=SMALL, **arguments)))
    with pytest.raises(InputError, match="carry no condition"):
        conditioned(world()).sample(world().task.prompts, 2, Rng(0))
