"""Designed rewards on decision processes: potentials, teachers, self-learned parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import Carry, InputError, Loop, Rng, World
from assay.loops import reward_designs
from assay.models.policies.markov import acting
from assay.models.process import states
from assay.recipes import reward_design
from assay.worlds.table import world

SMALL = Loop(max_steps=2, batch_size=6, num_generations=4, learning_rate=0.05)


def double(**arguments: Any) -> World:
    w = world(pairs=40, **arguments)
    w.task.reference.double()  # type: ignore[attr-defined]
    return w


def table_of(w: World) -> Tensor:
    reference = acting(w.task.reference)
    return (
        w.task.rewards.steps(reference.process.every())
        .double()
        .reshape(-1, *reference.logits.shape)
    )


def test_a_potential_shifts_every_episode_s_return_by_its_start() -> None:
    w = double(testbed="grid")
    reference = acting(w.task.reference)
    p, R = reference.process, table_of(w)[0]
    x = reference.sample(w.task.prompts, 50, Rng(0))
    at = states(x)
    weight = p.gamma ** torch.arange(p.horizon, dtype=torch.float64)
    for kind in reward_designs.POTENTIALS:
        F = reward_designs._potential(w.task, p, R, kind, False)(at)
        total = (torch.where(x.mask, F, 0.0) * weight).sum(-1)
        first = reward_designs._potential(w.task, p, R, kind, True)(at)[..., 0]
        assert float(total.std()) > 0
        for s in at[..., 0].unique():
            here = total[at[..., 0] == s]
            assert float(here.max() - here.min()) < 1e-9 and len(here) > 1
        assert first.shape == total.shape


def test_a_design_follows_the_learner_and_a_fixed_one_does_not() -> None:
    w = double(testbed="grid")
    tables = {}
    for period in (0, 2):
        carry: Any = Carry()
        made = []
        for _ in reward_design.recipe(
            w.task.replaced(carry=carry),
            design="teacher",
            period=period,
            loop=replace(SMALL, max_steps=4, learning_rate=0.5),
        ):
            made.append(carry.table.clone())
        tables[period] = made
    assert torch.equal(tables[0][0], tables[0][3]) and torch.equal(tables[2][0], tables[0][0])
    assert torch.equal(tables[2][0], tables[2][1]) and not torch.equal(tables[2][1], tables[2][2])


def test_a_bound_below_the_original_reward_is_refused() -> None:
    w = double(testbed="grid")
    for design in ("explicable", "random", "teacher"):
        with pytest.raises(InputError, match="--bound is 0.5"):
            next(reward_design.recipe(w.task, design=design, bound=0.5, loop=SMALL))


def test_exploration_s_bookkeeping_is_the_formula() -> None:
    w = double(testbed="chain")
    reference = acting(w.task.reference)
    p, R = reference.process, table_of(w)[0]
    x = reference.sample(w.task.prompts[:2], 3, Rng(0))
    S, A = R.shape
    carry = Carry().keep(
        phi=torch.zeros(S, A).double(),
        value=torch.full((S,), 0.02).double(),
        count=torch.zeros(S).double(),
    )
    reward_designs._explored(carry, reference, x, R, 0.5)
    phi, pi, count = torch.zeros(S, A).double(), reference.probs(), torch.zeros(S)
    for b in range(2):
        for n in range(3):
            T = int(x.lengths[b, n])
            for t in range(T):
                s, a = int(states(x)[b, n, t]), int(x.action[b, n, t])
                G = sum(
                    p.gamma ** (j - t) * float(R[states(x)[b, n, j], x.action[b, n, j]])
                    for j in range(t, T)
                )
                one = torch.zeros(A).double()
                one[a] = 1
                phi[s] += 0.5 / 6 * pi[s, a] * (G - 0.02) * (one - pi[s])
                count[states(x)[b, n, t + 1]] += 1
    torch.testing.assert_close(carry.phi, phi)  # type: ignore[attr-defined]
    assert torch.equal(carry.count.float(), count) and float(phi.abs().max()) > 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        {"design": "explore"},
        {"design": "teacher", "period": 1},
        {"design": "potential", "cut": True},
    ],
)
def test_designs_resume_from_their_carry(arguments: dict[str, Any]) -> None:
    w = double(testbed="chain")
    whole, cut = Carry(), Carry()
    a = [
        s.stats["loss"]
        for s in reward_design.recipe(
            w.task.replaced(carry=whole), loop=replace(SMALL, max_steps=4), **arguments
        )
    ]
    run = reward_design.recipe(
        w.task.replaced(carry=cut), loop=replace(SMALL, max_steps=4), **arguments
    )
    b = [next(run).stats["loss"], next(run).stats["loss"]]
    again = Carry(cut.state())
    b += [
        s.stats["loss"]
        for s in reward_design.recipe(
            w.task.replaced(carry=again), loop=replace(SMALL, max_steps=4), **arguments
        )
    ]
    assert a == b and a[0] != 0
