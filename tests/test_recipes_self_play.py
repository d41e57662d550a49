"""INPO, DNO, SPO and magnetic mirror descent on games that no score explains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from assay.core import Carry, Loop, Rng, Task
from assay.errors import InputError
from assay.formulas.self_play import magnetic_loss, magnetic_step
from assay.loops.preference_rounds import (
    every_pair,
    labelled,
    self_play_wins,
    side_by_side,
)
from assay.loops.self_play import reference_win_rate
from assay.models.policies.table import TablePolicy
from assay.recipes import dno, inpo, magnetic_mirror_descent, spo

D = torch.float64
RPS = torch.tensor([[0, 1, -1], [-1, 0, 1], [1, -1, 0]], dtype=D) * 0.4  # P − ½
SKEWED = (0.2, 0.3, 0.5)
FAR = (0.05, 0.15, 0.8)
MOVED = torch.tensor([[0.7, 0.1, 0.2]], dtype=D).log()


class Game:
    """A preference model that knows P of single decisions."""

    def __init__(self, P: torch.Tensor):
        self.P = P

    def __call__(self, a: Any, b: Any) -> torch.Tensor:
        return self.P[a.action[..., 0][:, :, None], b.action[..., 0][:, None, :]]


def task(P=RPS, probs=SKEWED, *, carry: Carry | None = None, seed=0, **parts: Any) -> Task:
    reference = TablePolicy(torch.tensor([probs], dtype=D).log()).requires_grad_(False)
    rows = torch.arange(8)
    return Task(
        prompts=reference.prompts(rows),
        reference=reference,
        preference=Game(P),
        rng=Rng(seed),
        carry=carry,
        **parts,
    )


def probs(policy: Any) -> torch.Tensor:
    return policy.logits.detach().softmax(-1)[0]


def last(steps: Any) -> torch.Tensor:
    found = None
    for step in steps:
        found = probs(step.policy)
    assert found is not None
    return found


def nash(alpha: float, P=RPS, mu=SKEWED) -> torch.Tensor:
    """The Nash policy of the regularised game, by many small steps."""
    log_mu = torch.tensor(mu, dtype=D).log()
    logp = log_mu
    for _ in range(3000):
        logp = magnetic_step(logp, P @ logp.exp(), log_mu, eta=0.3, alpha=alpha)
    assert float((logp - (log_mu + P @ logp.exp() / alpha).log_softmax(-1)).abs().max()) < 1e-8
    return logp.exp()


def test_exact_inpo_converges_to_the_regularised_nash_policy_and_dno_does_not() -> None:
    long = Loop(max_steps=300)
    near = last(inpo.recipe(task(), eta=1.0, share=0.3, exact=True, loop=long))
    torch.testing.assert_close(near, nash(0.3), atol=1e-6, rtol=0)
    far = last(dno.recipe(task(), eta=1.0, exact=True, loop=long))
    assert float((far - 1 / 3).abs().max()) > 0.3  # cycles outwards


def test_exact_steps_are_one_another_at_their_limits() -> None:
    few = Loop(max_steps=5)
    magnetic = last(
        magnetic_mirror_descent.recipe(task(), eta=1 / 1.9, alpha=0.1, exact=True, loop=few)
    )
    torch.testing.assert_close(
        last(inpo.recipe(task(), eta=2.0, share=0.05, exact=True, loop=few)), magnetic
    )
    weights = last(spo.recipe(task(), eta=0.5, exact=True, loop=few))
    torch.testing.assert_close(last(dno.recipe(task(), eta=2.0, exact=True, loop=few)), weights)
    torch.testing.assert_close(
        last(magnetic_mirror_descent.recipe(task(), eta=0.5, alpha=0.0, exact=True, loop=few)),
        weights,
    )
    assert float((weights - magnetic).abs().max()) > 1e-3


def test_the_average_of_spo_approaches_the_minimax_winner_and_the_last_leaves_it() -> None:
    long = Loop(max_steps=2000)
    mean = last(spo.recipe(task(), exact=True, average=True, loop=long))
    end = last(spo.recipe(task(), exact=True, loop=long))
    assert float((mean - 1 / 3).abs().max()) < 0.05 < 0.3 < float((end - 1 / 3).abs().max())


def test_a_magnet_that_follows_leads_to_the_nash_policy_of_the_plain_game() -> None:
    long = Loop(max_steps=300)
    how = {"eta": 1.0, "alpha": 0.3, "exact": True, "loop": long}
    follows = last(magnetic_mirror_descent.recipe(task(), kappa=0.2, **how))
    stays = last(magnetic_mirror_descent.recipe(task(), **how))
    assert float((follows - 1 / 3).abs().max()) < 0.005
    torch.testing.assert_close(stays, nash(0.3), atol=1e-6, rtol=0)
    assert float((stays - 1 / 3).abs().max()) > 0.03


def settled(steps: Any) -> torch.Tensor:
    """Mean of the policies of the second half of a run."""
    seen = [probs(step.policy) for step in steps]
    return torch.stack(seen[len(seen) // 2 :]).mean(0)


def test_sampled_inpo_settles_at_the_regularised_nash_policy() -> None:
    """From one drawn label a pair; without the anchor, and from extremes, it ends elsewhere."""
    loop = Loop(max_steps=80, batch_size=8, num_generations=16, learning_rate=0.2)
    how = {"eta": 0.6, "round_steps": 5, "loop": loop}
    near = settled(inpo.recipe(task(probs=FAR), share=1 / 3, **how))
    loose = settled(inpo.recipe(task(probs=FAR), share=0.0, **how))
    extremes = settled(inpo.recipe(task(probs=FAR), share=1 / 3, select="extremes", **how))
    target = nash(0.2, mu=FAR)
    assert float((near - target).abs().max()) < 0.03
    assert min(float((x - target).abs().max()) for x in (loose, extremes)) > 0.05


@pytest.mark.parametrize(
    ("recipe", "how"),
    [
        (inpo.recipe, {"round_steps": 3}),
        (inpo.recipe, {"round_steps": 3, "select": "extremes"}),
        (dno.recipe, {"round_steps": 3, "form": "regression"}),
        (dno.recipe, {"round_steps": 3, "teacher": "good", "margin": 0.1}),
        (spo.recipe, {"average": True}),
        (spo.recipe, {"exact": True, "average": True}),
        (magnetic_mirror_descent.recipe, {}),
        (magnetic_mirror_descent.recipe, {"exact": True, "kappa": 0.1}),
    ],
)
def test_a_run_goes_on_in_the_middle_of_a_round(recipe: Any, how: dict[str, Any]) -> None:
    loop = Loop(max_steps=8, batch_size=4, num_generations=6, learning_rate=0.1, epochs=2)
    good = TablePolicy(torch.tensor([[0.0, 1.0, 2.0]], dtype=D)).requires_grad_(False)
    others = {"good": good}
    whole = [probs(s.policy) for s in recipe(task(others=others), loop=loop, **how)]
    first = task(others=others)
    run = recipe(first, loop=loop, **how)
    for _ in range(5):
        next(run)  # the second of a round's three steps
    state = first.carry.state()
    resumed = task(others=others, carry=Carry(state))
    rest = [probs(s.policy) for s in recipe(resumed, loop=loop, **how)]
    assert len(rest) == 3 and all(torch.equal(a, b) for a, b in zip(whole[5:], rest, strict=True))
    assert float((whole[-1] - torch.tensor(SKEWED, dtype=D)).abs().max()) > 1e-3


def test_a_teacher_who_knows_more_is_an_opponent_of_nobody_and_helps() -> None:
    """The teacher plays the best completion of a transitive game that the policy rarely draws."""
    P = torch.tensor([[0, -0.1, -0.4], [0.1, 0, -0.4], [0.4, 0.4, 0]], dtype=D)
    loop = Loop(max_steps=20, batch_size=8, num_generations=4, learning_rate=0.5)
    teacher = TablePolicy(torch.tensor([[-9.0, -9.0, 9.0]], dtype=D)).requires_grad_(False)
    rare = (0.5, 0.499, 0.001)
    alone = last(dno.recipe(task(P, rare), loop=loop))
    taught = last(dno.recipe(task(P, rare, others={"wise": teacher}), teacher="wise", loop=loop))
    assert float(taught[2]) > 0.3 > 0.05 > float(alone[2])


def test_labels_are_drawn_by_the_preference_model() -> None:
    t = task()
    x = t.reference.sample(t.reference.prompts(torch.arange(400)), 6, Rng(1))
    preference = t.preference(x, x)
    soft = labelled(x, preference, Rng(2), soft=True)
    hard = labelled(x, preference, Rng(2), soft=False)
    assert len(soft) == 400 * 15 and set(hard.p.tolist()) == {0.0, 1.0}
    for value in soft.p.unique():
        same = soft.p == value
        error = (value * (1 - value) / same.sum()).sqrt()
        assert float((hard.p[same].mean() - value).abs()) < 4 * float(error) + 1e-9
    rows, places = every_pair(x)
    assert bool((places[:, 0] < places[:, 1]).all()) and len(rows) == len(soft)


def test_absent_completions_are_neither_judged_nor_fitted() -> None:
    t = task()
    x = t.reference.sample(t.reference.prompts(torch.arange(3)), 4, Rng(1))
    mask = x.mask.clone()
    mask[0, 1] = False
    x = replace(x, mask=mask)
    rows, places = every_pair(x)
    assert len(rows) == 3 + 6 + 6 and not bool((places[rows == 0] == 1).any())
    assert float(self_play_wins(t, x)[0, 1]) == 0.0
    both = side_by_side(x, x)
    assert both.present.tolist() == torch.cat([x.present, x.present], 1).tolist()


def test_a_reference_without_a_completion_is_no_win_rate_of_0() -> None:
    """Neither is a run's proxy: nobody was asked."""
    loop = Loop(max_steps=1, batch_size=4, num_generations=2)
    for recipe in (spo.recipe, inpo.recipe):
        t = task()
        x = t.reference.sample(t.prompts, 2, Rng(1))
        proxy = next(recipe(t, loop=loop)).reward
        assert torch.equal(proxy(x), reference_win_rate(t)(x))
        t.reference.sample = lambda *_, x=x: replace(x, mask=torch.zeros_like(x.mask))
        with pytest.raises(InputError, match="no completion to be compared with"):
            proxy(x)


def test_the_sampled_magnetic_objective_has_the_exact_step_as_its_minimum() -> None:
    """Its mean over all draws of π, differentiated at the magnetic step, is 0."""
    logp, magnet = (torch.tensor(p, dtype=D).log() for p in (SKEWED, (0.5, 0.3, 0.2)))
    q, eta, alpha = torch.tensor([0.3, -0.2, 0.6], dtype=D), 0.7, 0.4
    step = magnetic_step(logp, q, magnet, eta=eta, alpha=alpha)

    def mean(logits: torch.Tensor, constant: float) -> torch.Tensor:
        new = logits.log_softmax(-1)
        each = magnetic_loss(new - logp, new - magnet, q + constant, eta=eta, alpha=alpha)
        return (logp.exp() * each).sum()

    for constant in (0.0, 2.0):
        at = step.clone().requires_grad_()
        (slope,) = torch.autograd.grad(mean(at, constant), at)
        torch.testing.assert_close(slope, torch.zeros(3, dtype=D), atol=1e-12, rtol=0)
        off = (step + torch.tensor([0.1, 0.0, -0.1], dtype=D)).log_softmax(-1)
        assert float(mean(off, constant)) > float(mean(step, constant))


def test_sampled_magnetic_mirror_descent_settles_at_the_quantal_equilibrium() -> None:
    loop = Loop(max_steps=60, batch_size=8, num_generations=16, learning_rate=0.1, epochs=4)
    run = magnetic_mirror_descent.recipe
    near = settled(run(task(probs=FAR), eta=1.0, alpha=0.2, loop=loop))
    loose = settled(run(task(probs=FAR), eta=1.0, alpha=0.0, loop=loop))
    target = nash(0.2, mu=FAR)
    assert float((near - target).abs().max()) < 0.05 < float((loose - target).abs().max())


@pytest.mark.parametrize("completions", [2, 4])
def test_a_magnetic_advantage_is_the_win_rate_however_few_completions_there_are(
    completions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E[A|y] differs between y and z as P(·≻π) does; what others win is 1 less what y wins."""
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def spy(logratio: Any, to_magnet: Any, advantage: torch.Tensor, **how: Any) -> torch.Tensor:
        found.append((to_magnet.detach(), advantage))
        return magnetic_loss(logratio, to_magnet, advantage, **how)

    monkeypatch.setattr(magnetic_mirror_descent, "magnetic_loss", spy)
    monkeypatch.setattr(TablePolicy, "copy", lambda self: TablePolicy(MOVED, words=self.words))
    loop = Loop(max_steps=1, batch_size=3000, num_generations=completions, epochs=1)
    list(magnetic_mirror_descent.recipe(task(), alpha=0.1, loop=loop))
    to_magnet, A = (torch.cat(x).flatten() for x in zip(*found, strict=True))
    pi, mu = MOVED[0].softmax(-1), torch.tensor(SKEWED, dtype=D)
    which = (to_magnet[:, None] - (pi / mu).log()).abs().argmin(1)
    means = torch.stack([A[which == y].mean() for y in range(3)])
    torch.testing.assert_close(means.diff(), (RPS @ pi).diff(), atol=0.04, rtol=0)
