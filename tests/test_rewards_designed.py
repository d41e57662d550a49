"""Rewards by linear programmes: bounded, sparse, informative, and true to the optimal policies."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from assay.core import Rng
from assay.formulas.occupancy import evaluation, greedy, optimal_values
from assay.formulas.potential import informativeness, keeps_optimal, teaching_gain, truncated_gaps
from assay.rewards.designed import Problem, explicable, taught

GAMMA, N = 0.95, 7


def line(slip: float = 0.1) -> Problem:
    """A line of N places; acting in the last one pays 1 and ends."""
    P = torch.zeros(N + 1, 2, N + 1, dtype=torch.float64)
    for s in range(N - 1):
        for a, step in enumerate((-1, 1)):
            P[s, a, max(s + step, 0)] += 1 - slip
            P[s, a, max(s - step, 0)] += slip
    P[N - 1 :, :, N] = 1
    R = torch.zeros(N + 1, 2, dtype=torch.float64)
    R[N - 1] = 1
    return Problem(R, P, torch.arange(N + 1) == N, GAMMA)


def fork() -> Problem:
    """Two ways of equal length lead from 0 to 3, which pays; the third action stays."""
    P = torch.zeros(5, 3, 5, dtype=torch.float64)
    P[0, 0, 1] = P[0, 1, 2] = P[0, 2, 0] = 1
    P[1, :2, 3] = P[2, :2, 3] = P[1, 2, 1] = P[2, 2, 2] = 1
    P[3:, :, 4] = 1
    R = torch.zeros(5, 3, dtype=torch.float64)
    R[3] = 1
    return Problem(R, P, torch.arange(5) == 4, GAMMA)


def gaps_of(problem: Problem, policies: int = 100) -> list[Tensor]:
    off = (~problem.best & ~problem.terminal[:, None])[..., None]
    return [
        truncated_gaps(pi, problem.P, gamma=GAMMA, horizons=(1, 4)) * off
        for pi in problem.policies(policies, Rng(0))
    ]


def told(problem: Problem, R: Tensor) -> float:
    each = [informativeness(R.flatten(), g, problem.delta) for g in gaps_of(problem)]
    return float(torch.stack(each).mean())


@pytest.mark.parametrize("problem", [line(), fork()])
def test_an_explicable_reward_is_sparse_bounded_and_true_to_every_optimal_policy(
    problem: Problem,
) -> None:
    made, zone = explicable(problem, states=2, bound=1.0, rng=Rng(0), horizons=(1, 4))
    assert len(zone) == len(problem.paid) + 2
    assert not made[[s for s in range(len(made)) if s not in zone]].any()
    assert float(made.abs().max()) <= 1 + 1e-9
    assert keeps_optimal(made, problem.original, problem.P, gamma=GAMMA)
    assert told(problem, problem.original) < told(problem, made) <= 0
    live = ~problem.terminal[:, None]
    # every gap is the original's at least, under every optimal policy and not one alone
    for pi in problem.policies(100, Rng(0)):
        q = evaluation(pi, problem.P, gamma=GAMMA) @ made.flatten()
        gap = (pi * q).sum(-1, keepdim=True) - q
        assert bool((gap - problem.delta[:, None])[live & ~problem.best].min() > -1e-7)
        assert float(gap[live & problem.best].abs().max()) < 1e-7


def test_all_ties_are_optimal_policies_and_a_few_of_them_are_drawn() -> None:
    problem = fork()
    every = problem.policies(100, Rng(0))
    assert len(every) == int(problem.best[~problem.terminal].sum(-1).prod())
    assert len({tuple(p.argmax(-1).tolist()) for p in every}) == len(every)
    some = problem.policies(3, Rng(0))
    assert len(some) == 3 and all(bool((problem.best | (p == 0)).all()) for p in [*every, *some])


def test_no_reward_on_these_states_tells_more() -> None:
    """The optimum: to punish what is not optimal satisfies all conditions, and tells less."""
    problem = line()
    made, _ = explicable(problem, states=0, bound=1.0, rng=Rng(0), horizons=(1, 4), chosen=(2, 4))
    best, g = told(problem, made), torch.Generator().manual_seed(0)
    worse = torch.zeros_like(problem.best)
    worse[[2, 4]] = ~problem.best[[2, 4]]
    for _ in range(50):
        share, hurt = torch.rand(1, generator=g).double(), torch.rand(2, generator=g).double()
        other = problem.original.clone()
        other[worse] -= hurt
        assert told(problem, share * made + (1 - share) * other) <= best + 1e-9
    assert best > told(problem, problem.original)


def test_each_state_is_the_best_at_its_turn_and_chosen_ones_are_taken() -> None:
    problem = line()
    first, zone = explicable(problem, states=1, bound=1.0, rng=Rng(0), horizons=(1, 4))
    free = list(range(N - 1))
    alone = {
        s: told(
            problem,
            explicable(problem, states=0, bound=1.0, rng=Rng(0), horizons=(1, 4), chosen=(s,))[0],
        )
        for s in free
    }
    assert told(problem, first) == pytest.approx(max(alone.values()))
    assert explicable(problem, states=0, bound=1.0, rng=Rng(0), chosen=(0, 3))[1] == [0, 3, N - 1]
    assert len(zone) == 2


def test_the_teacher_teaches_most_what_the_learner_gets_wrong_where_it_is() -> None:
    problem = line()
    pi = torch.full((N + 1, 2), 0.5, dtype=torch.float64)
    pi[4] = torch.tensor([0.01, 0.99])  # knows what to do there
    visits = torch.full((N + 1,), 1 / N, dtype=torch.float64)
    visits[1] = 0.0  # is never there
    made, zone = taught(problem, pi, visits, states=2, bound=1.0)
    assert 4 not in zone and 1 not in zone and len(zone) == 3
    assert float(made.abs().max()) <= 1 + 1e-9
    assert keeps_optimal(made, problem.original, problem.P, gamma=GAMMA)
    q = optimal_values(problem.P, problem.original, gamma=GAMMA)
    gain = teaching_gain(pi, visits, q - q.amax(-1, keepdim=True))
    best = float((gain * made).sum())
    for pair in itertools.combinations(range(N - 1), 2):
        other, _ = explicable(problem, states=0, bound=1.0, rng=Rng(0), chosen=pair)
        assert float((gain * other).sum()) <= best + 1e-9
    assert best > float((gain * problem.original).sum())


def test_the_optimal_policies_of_what_is_taught_are_the_original_s() -> None:
    problem = fork()
    pi = torch.full((5, 3), 1 / 3, dtype=torch.float64)
    made, _ = taught(problem, pi, torch.full((5,), 0.2, dtype=torch.float64), states=2, bound=1.0)
    found = greedy(optimal_values(problem.P, made, gamma=GAMMA))
    assert torch.equal(found[:4], problem.best[:4])


def test_a_bound_that_the_original_breaks_is_an_error() -> None:
    with pytest.raises(ValueError, match="bound is 0.5"):
        taught(
            line(),
            torch.full((N + 1, 2), 0.5).double(),
            torch.ones(N + 1).double(),
            states=1,
            bound=0.5,
        )
