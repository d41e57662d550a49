"""Episodes: what is drawn has the law that is written down, and every exact number is what episodes
average to.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from assay.core import EncodesText, Rng, Samples, World, require
from assay.errors import InputError
from assay.models.policies.markov import MarkovPolicy, acting
from assay.models.policies.table import TablePolicy
from assay.models.process import Process, states
from assay.worlds.mdp import TESTBEDS, ProductGold
from assay.worlds.table import world

BEDS = pytest.mark.parametrize("bed", TESTBEDS)


def tilted(w: World, by: float = 0.7) -> MarkovPolicy:
    reference = acting(w.task.reference)
    S, A = reference.logits.shape
    noise = Rng(5).normal(torch.arange(S)[:, None], torch.arange(A), dtype=torch.float64)
    return MarkovPolicy(reference.logits.double() + by * noise, reference.process)


@BEDS
def test_facts_are_what_episodes_average_to(bed: str) -> None:
    w = world(testbed=bed, pairs=20, members=2, seed=3)
    policy = tilted(w)
    assert w.gold is not None and w.facts is not None
    p = policy.process
    assert len(p.states) <= 100 and p.horizon <= 30
    x = policy.sample(w.held_out, 60, Rng(0)("sample"))
    at, facts = states(x), w.facts(policy)
    reference = w.task.reference.double()  # type: ignore[attr-defined]
    log_ratio = (x.logp - reference.logp(x)).sum(-1)
    told = {
        "gold": w.gold(x)[0],
        "kl": log_ratio,
        "steps": x.lengths.double(),
        **dict(zip(w.task.rewards.names, w.task.rewards(x), strict=True)),
    }
    for name, got in told.items():
        assert float(got.mean()) == pytest.approx(
            facts[name], abs=4.5 * float(got.std()) / math.sqrt(got.numel()) + 1e-9
        ), name
    torch.testing.assert_close(
        policy.kl(reference, x).mean(),
        torch.tensor(facts["kl"], dtype=torch.float64),
        rtol=1e-6,
        atol=0,
    )
    assert (
        float(policy.kl(reference, x).std(1).max()) == 0
    )  # the same for all of a prompt's answers
    weight = p.gamma ** torch.arange(p.horizon, dtype=torch.float64)
    share = torch.zeros(len(p.states), dtype=torch.float64)
    share.index_add_(
        0,
        at[..., :-1].flatten(),
        (weight / weight.sum()).expand(*at.shape[:2], -1).flatten() / at[..., 0].numel(),
    )
    assert float((share - policy.occupancy().detach().sum(-1)).abs().max()) < 0.03
    ended = p.terminal[at[..., -1]]
    assert bool(x.ended.all()) and torch.equal(
        x.lengths < p.horizon, ended & (x.lengths < p.horizon)
    )
    assert not x.mask[p.terminal[at[..., :-1]]].any()  # nothing is decided once it is over


@BEDS
def test_moves_have_the_transitions_law(bed: str) -> None:
    w = world(testbed=bed, pairs=20, members=2)
    p = acting(w.task.reference).process
    x = tilted(w, 0.0).sample(w.held_out, 200, Rng(1))
    at, own = states(x), x.mask
    s, a, after = at[..., :-1][own], x.action[own], at[..., 1:][own]
    count = torch.zeros(p.P.shape, dtype=torch.float64).index_put_(
        (s, a, after), torch.ones(len(s)).double(), accumulate=True
    )
    total = count.sum(-1, keepdim=True)
    assert not count[p.P == 0].any()
    error = (count - total * p.P) / (total * p.P * (1 - p.P)).clamp(min=1e-9).sqrt()
    often = (total * p.P > 30) & (p.P < 1)
    assert float(error[often].abs().max()) < 5.5 and int(often.sum()) > 20


def test_episodes_are_functions_of_their_places() -> None:
    w = world(testbed="grid", pairs=20)
    policy, rows = tilted(w), torch.tensor([5, 2])
    whole = policy.sample(w.held_out, 3, Rng(2))
    part = policy.sample(w.held_out[rows], 3, Rng(2)[rows])
    assert torch.equal(whole.action[rows], part.action) and torch.equal(
        states(whole)[rows], states(part)
    )
    state = policy.decoding(w.held_out, 3, Rng(2))
    while bool(state.open.any()):
        at = state.now.clone()
        assert torch.allclose(state.next_logprobs().exp(), policy.probs()[at])
        state.append(state.draw())
    assert torch.equal(state.samples().action, whole.action) and torch.equal(
        state.samples().logp, whole.logp
    )
    torch.testing.assert_close(policy.logp(whole).detach(), whole.logp)


def test_going_on_from_a_prefix_keeps_it_and_its_state() -> None:
    w = world(testbed="tomato", pairs=20, members=2)
    policy = tilted(w)
    whole = policy.sample(w.held_out[:4], 2, Rng(3))
    cut = torch.arange(policy.process.horizon) < 6
    begun = replace(whole, mask=whole.mask & cut)
    again = policy.sample(w.held_out[:4], 2, Rng(3), start=begun)
    assert torch.equal(again.action, whole.action) and torch.equal(states(again), states(whole))
    other = policy.sample(w.held_out[:4], 2, Rng(4), start=begun)
    assert torch.equal(states(other)[..., :7], states(whole)[..., :7]) and not torch.equal(
        states(other), states(whole)
    )
    given = policy.decoding(w.held_out[:4], 2, Rng(3))
    given.force(torch.zeros(4, 2, dtype=torch.int64))
    given.select(torch.tensor([[1, 1]] * 4))
    x = given.samples()
    assert (
        bool(x.given[..., 0].all())
        and not x.mask.any()
        and torch.equal(states(x)[:, 0], states(x)[:, 1])
    )


def test_gradients_and_a_scorer_see_states_and_nothing_behind_the_mask() -> None:
    w = world(testbed="chain", pairs=20)
    policy = tilted(w)
    x = policy.sample(w.held_out[:8], 4, Rng(0))
    noise = torch.where(x.mask, x.action, 1)
    torch.testing.assert_close(policy.logp(replace(x, action=noise)), policy.logp(x))
    policy.logp(x).sum().backward()
    assert policy.logits.grad is not None and not policy.logits.grad[policy.process.terminal].any()
    values = policy.value_head(2, Rng(1))(x)
    assert values.shape == (8, 4, policy.process.horizon + 1, 2)
    torch.testing.assert_close(values[0, 0, 0], values[3, 2, 0])  # the same state at the same time


def test_rewards_are_sums_of_their_steps() -> None:
    w = world(testbed="grid", pairs=20)
    policy = tilted(w)
    x, p = policy.sample(w.held_out[:8], 4, Rng(0)), policy.process
    weight = p.gamma ** torch.arange(p.horizon, dtype=torch.float64)
    torch.testing.assert_close((w.task.rewards.steps(x) * weight).sum(-1), w.task.rewards(x))
    every = p.every()
    table = w.task.rewards.steps(every).reshape(4, len(p.states), len(p.actions))
    torch.testing.assert_close(
        table[:, states(x)[..., :-1], x.action] * x.mask, w.task.rewards.steps(x)
    )
    one = w.task.rewards.only([2])
    assert one.names == ("useless",) and torch.equal(one.steps(x)[0], w.task.rewards.steps(x)[2])


def test_the_driving_score_is_that_of_all_its_episodes() -> None:
    """Three steps from anywhere by enumeration of what a policy may do."""
    w = world(testbed="road", horizon=3, pairs=20)
    policy = tilted(w)
    assert isinstance(w.gold, ProductGold)
    p, pi, total = policy.process, policy.probs().detach(), 0.0

    def go(s: int, t: int, chance: float, gained: float, left: float) -> None:
        nonlocal total
        if t == 3:
            total += chance * gained * left
            return
        for a in range(4):
            for after in p.P[s, a].nonzero()[:, 0].tolist():
                go(
                    after,
                    t + 1,
                    chance * float(pi[s, a] * p.P[s, a, after]),
                    gained + float(w.gold.gain[s, a]),  # type: ignore[union-attr]
                    left * float(w.gold.penalty[s, a]),
                )  # type: ignore[union-attr]

    go(int(p.start.argmax()), 0, 1.0, 0.0, 1.0)
    assert w.gold.mean(pi, p) == pytest.approx(total, rel=1e-9)


def test_what_a_user_gets_wrong_is_one_sentence() -> None:
    w = world(testbed="chain", pairs=20)
    policy = acting(w.task.reference)
    x = policy.sample(w.held_out[:2], 2, Rng(0))
    assert w.held_out[:1].text() == ["x05"] and set(x.text()[0][0].split()) <= {"left", "right"}
    plain = TablePolicy(torch.zeros(1, 3))
    for wrong, said in (
        (lambda: acting(plain), "needs a decision process"),
        (lambda: policy.kl(plain, x), "another one"),
        (lambda: require(policy, EncodesText, "spark"), "spark needs a policy that encodes text"),
        (lambda: states(replace(x, extra={})), "carry no states"),
        (lambda: world(testbed="maze"), "one of bag, bandit, trade, tomato"),
        (lambda: world(testbed="grid", gamma=2), "discount"),
        (lambda: MarkovPolicy(torch.zeros(2, 2), policy.process), "do not fit"),
    ):
        with pytest.raises(InputError, match=said):
            wrong()  # type: ignore[no-untyped-call]
    p: Process = policy.process
    with pytest.raises(InputError, match="no probabilities"):
        replace(p, P=p.P * 0.5)
    with pytest.raises(InputError, match="leads elsewhere"):
        replace(p, terminal=~p.terminal)
    assert isinstance(x, Samples) and isinstance(p.P, Tensor)
