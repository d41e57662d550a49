"""Designed rewards keep the optimal policies, by dynamic programming, and inform."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from assay.formulas.occupancy import evaluation, greedy, optimal_values
from assay.formulas.potential import (
    count_bonus,
    keeps_optimal,
    shaped,
    shaping,
    teaching_gain,
    truncated_gaps,
)

GAMMA, N = 0.95, 7


def line(slip: float = 0.1) -> tuple[Tensor, Tensor, Tensor]:
    """P, R and terminal of a line of N places; acting in the last one pays 1 and ends."""
    P = torch.zeros(N + 1, 2, N + 1, dtype=torch.float64)
    for s in range(N - 1):
        for a, step in enumerate((-1, 1)):
            P[s, a, max(s + step, 0)] += 1 - slip
            P[s, a, max(s - step, 0)] += slip
    P[N - 1 :, :, N] = 1
    R = torch.zeros(N + 1, 2, dtype=torch.float64)
    R[N - 1] = 1
    return P, R, torch.arange(N + 1) == N


@pytest.mark.parametrize("seed", range(5))
def test_shaping_changes_no_optimal_policy_and_shifts_q_by_the_potential(seed: int) -> None:
    P, R, terminal = line()
    level = 5 * torch.randn(
        N + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    q, F = optimal_values(P, R, gamma=GAMMA), shaped(R, P, level, terminal, gamma=GAMMA)
    torch.testing.assert_close(
        optimal_values(P, F, gamma=GAMMA), q - torch.where(terminal, 0.0, level)[:, None]
    )
    assert keeps_optimal(F, R, P, gamma=GAMMA) and torch.equal(
        greedy(optimal_values(P, F, gamma=GAMMA)), greedy(q)
    )
    wrong = (
        R + GAMMA * (P @ level) - level[:, None]
    )  # a terminal state that keeps its potential: paid for where one ends
    assert abs(float(level[N])) > 0.1 and not torch.allclose(wrong, F)


def test_shaping_telescopes_along_an_episode() -> None:
    """Σ γ^t F_t = −Φ(s₀) + γᵀΦ(s_T), with 0 where it has ended."""
    level, terminal = (
        torch.randn(5, dtype=torch.float64),
        torch.tensor([False, False, False, False, True]),
    )
    weight = GAMMA ** torch.arange(4.0, dtype=torch.float64)
    for path, last in (([0, 2, 1, 3, 2], level[2]), ([0, 2, 4, 4, 4], 0.0)):
        at = torch.tensor(path)
        F = shaping(level, terminal, at[:-1], at[1:], gamma=GAMMA)
        assert float((weight * F).sum()) == pytest.approx(float(-level[0] + GAMMA**4 * last))


def test_what_a_deviation_costs_converges_to_the_endless_gap() -> None:
    P, R, _ = line()
    pi = greedy(optimal_values(P, R, gamma=GAMMA)).double()
    pi = pi / pi.sum(-1, keepdim=True)
    near = truncated_gaps(pi, P, gamma=GAMMA, horizons=(0, 1, 400)) @ R.flatten()
    q = evaluation(pi, P, gamma=GAMMA) @ R.flatten()
    torch.testing.assert_close(near[2], (pi * q).sum(-1, keepdim=True) - q)
    torch.testing.assert_close(
        near[0], (pi * R).sum(-1, keepdim=True) - R
    )  # the sum over 0 … h includes h = 0
    assert (
        float(near[1, 0].abs().max()) == 0 < float(near[2, 0, 0])
    )  # one step from the start shows nothing of the goal


def test_teaching_gain_is_the_objective_s_coefficient() -> None:
    g = torch.Generator().manual_seed(0)
    pi, mu, adv, R = (torch.randn(4, 3, generator=g, dtype=torch.float64) for _ in range(4))
    pi, mu = pi.softmax(-1), mu[:, 0].softmax(0)
    want = (mu[:, None] * pi * adv * (R - (pi * R).sum(-1, keepdim=True))).sum()
    c = teaching_gain(pi, mu, adv)
    assert float((c * R).sum()) == pytest.approx(float(want))
    torch.testing.assert_close(
        c.sum(-1), torch.zeros(4, dtype=torch.float64)
    )  # a constant in a state teaches nothing


def test_the_bonus_begins_at_most_and_falls_with_the_root() -> None:
    b = count_bonus(torch.tensor([0.0, 1e6], dtype=torch.float64), scale=2.0, most=0.5)
    assert b.tolist() == pytest.approx([0.5, 2e-3], rel=1e-4)
    with pytest.raises(ValueError, match="above 0"):
        count_bonus(b, scale=0.0, most=1.0)
