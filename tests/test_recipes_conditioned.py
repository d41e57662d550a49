"""A row's condition is its own and nobody else's; corners of a soup; the family's grid; the area by
hand.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch
from small import BANDIT
from test_contract import SMALL

from assay.core import Carry, InputError, Rng
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal
from assay.models.policies.conditioned import PARTS, Conditioned, first_token, output
from assay.recipes import conditioned_policies
from assay.recipes.conditioned_policies import (
    area,
    codes_of,
    drawn,
    edges,
    log_area,
    recipe,
    shown_of,
)
from assay.worlds import table
from assay.worlds.arithmetic import VOCABULARY


@functools.cache
def world():
    made = table.world(**BANDIT, seed=1)
    made.task.reference.double()
    return made


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
    for steered in (False, True):
        shown = shown_of(edges(2, 5), steered)
        assert shown.shape == (10 if steered else 5, 3)
        for family in conditioned_policies.FAMILIES:
            which = drawn(family, shown, 3, prompts, Rng(1), 2, steered)
            w, level = which.at[:, :-1], which.at[:, -1]
            assert torch.allclose(w.sum(-1), torch.ones(len(prompts))) and (w >= 0).all()
            assert len(torch.unique(which.at, dim=0)) == (2 if family == "soups" else 3)
            assert (which.row is None) == (family != "specialists")
            assert bool((level > 0).any()) == (steered and family != "soups")
            code = codes_of(family, shown, steered)
            assert code.shape[1] == {"soups": 2, "specialists": len(shown)}.get(family, 2 + steered)
    high = codes_of("soups", shown_of(edges(2, 3), True), True)
    assert torch.equal(high[3:], torch.zeros(3, 2))  # at the highest KL weight, the reference


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
        at(-1, 20),
        at(4, 2),
        at(2, 3),
        at(1, 9),
        at(2, 2),
        at(9, 9, "best", 2),
    ]
    # (4,2), (2,3) and (1,9) above the origin; (−1,20) lies outside, (2,2) is covered
    assert area(rows) == pytest.approx(4 * 2 + 2 * 1 + 1 * 6)
    assert log_area(rows) == pytest.approx(math.log(16))
    twice = [{**r, "rewards": [2 * v for v in r["rewards"]]} for r in rows]
    assert log_area(twice) - log_area(rows) == pytest.approx(math.log(4))  # whatever the scale


def llama():
    size = Config(len(VOCABULARY), 16, 1, heads=2, kv_heads=2, inner=32)
    policy = Causal(Llama(size, Rng(3)), VOCABULARY, max_tokens=8).frozen()
    return policy, VOCABULARY.prompts(["1 + 2", "3 + 4 + 5", "2 + 2", "6 + 1"])


@pytest.mark.parametrize("parts", PARTS)
def test_a_language_model_is_conditioned_in_every_part(parts):
    reference, prompts = llama()
    first = first_token(prompts) if parts == "prompt" else None
    policy = Conditioned(reference, 2, parts=parts, first=first)
    rows = replace(
        prompts, extra={"condition": torch.tensor([[1.0, 0.0], [0.2, 0.8], [1.0, 0.0], [0.0, 1.0]])}
    )
    x = policy.sample(rows, 3, Rng(2))
    torch.testing.assert_close(x.logp, reference.logp(x), atol=1e-5, rtol=1e-4)  # Δ begins at 0
    for d in policy.delta:
        d.data = torch.randn(d.shape, generator=torch.Generator().manual_seed(1)).to(d)
    x = policy.sample(rows, 3, Rng(2))
    lp = policy.logp(x)
    torch.testing.assert_close(lp.detach(), x.logp, atol=1e-4, rtol=1e-4)
    for b, c in enumerate(rows.extra["condition"]):
        one = policy.at(c)
        torch.testing.assert_close(
            lp[b : b + 1].detach(), one.logp(x[b : b + 1]), atol=1e-4, rtol=1e-4
        )
    assert not torch.allclose(policy.at(torch.tensor([0.0, 1.0])).logp(x), x.logp, atol=1e-2)
    lp.sum().backward()
    assert all(float(d.grad.abs().sum()) > 0 for d in policy.delta)
    names = {"attention": "self_attn", "logits": "embed_tokens", "prompt": "embed_tokens"}
    assert all(names.get(parts, "") in k for k in policy.names)
    if parts == "prompt":
        assert policy.delta[0].shape == (2, 16) and first == VOCABULARY.bos


def test_prompts_that_begin_differently_carry_no_condition():
    _, prompts = llama()
    assert first_token(prompts) == VOCABULARY.bos  # behind the padding on the left
    other = replace(prompts, tokens=prompts.tokens + torch.arange(4)[:, None])
    with pytest.raises(InputError, match="begin with 4 different tokens"):
        first_token(other)


def test_the_kl_weight_is_a_condition():
    w = world()
    *_, last = recipe(
        w.task.replaced(carry=Carry(), rng=Rng(0)),
        beta=0.1,
        beta_high=3.0,
        grid=2,
        loop=replace(SMALL, max_steps=60, batch_size=8, num_generations=16),
    )
    assert [s.tag for s in last] == [
        "w=1,0 beta=0.1",
        "w=0,1 beta=0.1",
        "w=1,0 beta=3",
        "w=0,1 beta=3",
    ]
    kl = [
        float(s.policy.kl(w.task.reference, s.policy.sample(w.task.prompts, 8, Rng(1))).mean())
        for s in last
    ]
    assert kl[0] > 2 * kl[2] and kl[1] > 2 * kl[3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"family": "pareto"}, "--family is 'pareto'"),
        ({"members": 1}, "--members is 1"),
        ({"parts": "heads"}, "parts is 'heads'"),
        ({"parts": "attention"}, "this policy has no attention"),
        ({"beta_high": 0.05}, "--beta-high 0.05"),
    ],
)
def test_what_cannot_be_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        next(iter(recipe(world().task.replaced(carry=Carry()), loop=SMALL, **arguments)))
    with pytest.raises(InputError, match="carry no condition"):
        conditioned(world()).sample(world().task.prompts, 2, Rng(0))
