"""Implicit rewards: conjugates by definition, what telescopes, and that SFT is what remains."""

from __future__ import annotations

import math

import pytest
import torch

from assay.formulas.implicit_reward import (
    LOSSES,
    imitation,
    implicit_reward,
    soft_value,
    token_rewards,
)

F64 = torch.float64
F = {
    "pearson": lambda t: (t - 1) ** 2,
    "squared_hellinger": lambda t: (t.sqrt() - 1) ** 2,
    "kl": lambda t: t * t.log(),
}


@pytest.mark.parametrize("divergence", F)
def test_the_loss_is_the_convex_conjugate_at_minus_u(divergence):
    """sup_t (−u·t − f(t)) over t > 0, on a grid."""
    t = torch.linspace(1e-6, 30, 600_001, dtype=F64)
    for u in (-0.8, -0.3, 0.0, 0.7, 1.9):
        best = (-u * t - F[divergence](t)).max()
        mine = imitation(torch.tensor(u, dtype=F64), divergence=divergence)
        assert float(mine) == pytest.approx(float(best), abs=1e-4)


@pytest.mark.parametrize("divergence", F)
def test_each_f_is_a_divergence(divergence):
    assert F[divergence](torch.ones(1, dtype=F64)).item() == 0


def slope(u, divergence):
    x = torch.tensor(u, dtype=F64, requires_grad=True)
    imitation(x, divergence=divergence).backward()
    return float(x.grad)


def test_at_the_reference_the_first_step_is_that_of_sft():
    assert slope(0.0, "linear") == slope(0.0, "pearson") == slope(0.0, "squared_hellinger") == -1
    assert slope(0.0, "kl") == pytest.approx(-1 / math.e)


def test_where_imitation_stops():
    assert slope(2.0, "pearson") == pytest.approx(0) and slope(2.5, "pearson") > 0
    for divergence in ("squared_hellinger", "kl"):
        pulls = [-slope(u, divergence) for u in (0.0, 1.0, 3.0, 10.0)]
        assert pulls == sorted(pulls, reverse=True) and 0 < pulls[-1] < 0.05
    assert slope(50.0, "linear") == -1, "SFT's pull never fades: nothing in it says how far"


def test_hellinger_is_infinite_below_minus_one_and_its_gradient_is_no_nan():
    u = torch.tensor([-1.5, -1.0, 0.5], dtype=F64, requires_grad=True)
    out = imitation(u, divergence="squared_hellinger")
    out[2].backward()
    assert out.tolist()[:2] == [math.inf] * 2 and u.grad.tolist()[:2] == [0, 0]


def test_token_rewards_sum_to_the_implicit_reward_and_two_values():
    logp, ref, v = (torch.randn(3, n, dtype=F64) for n in (5, 5, 6))
    total = token_rewards(logp, ref, v, beta=0.3).sum(-1)
    torch.testing.assert_close(total, implicit_reward(logp, ref, beta=0.3) + v[:, 0] - v[:, -1])


def test_logits_are_q_up_to_a_number_of_the_state():
    z, beta = torch.randn(4, 9, dtype=F64), 0.7
    torch.testing.assert_close(
        beta * z - soft_value(z, beta=beta)[:, None], beta * z.log_softmax(-1)
    )
    moved = soft_value(z + 2, beta=beta) - soft_value(z, beta=beta)
    torch.testing.assert_close(moved, torch.full((4,), 2 * beta, dtype=F64))


def test_with_its_own_best_reward_the_game_is_sft_and_the_kl_term_a_constant():
    """E_E[r] − max_p (E_p[r] − β·KL(p‖π₀)) at r = β·log π/π₀, by enumeration."""
    g = torch.Generator().manual_seed(4)
    expert, prior = (torch.randn(6, dtype=F64, generator=g).softmax(-1) for _ in range(2))
    beta, values = 0.4, []
    for _ in range(3):
        policy = torch.randn(6, dtype=F64, generator=g).softmax(-1)
        r = beta * (policy / prior).log()
        inner = beta * (prior * (r / beta).exp()).sum().log()  # the maximum's value
        best = (prior.log() + r / beta).softmax(-1)
        torch.testing.assert_close(best, policy)
        assert abs(float(inner)) < 1e-12
        values.append(float((expert * r).sum() - inner - beta * (expert * policy.log()).sum()))
    assert max(values) - min(values) < 1e-12, "what is not −β·NLL is the same for every policy"


def test_an_unknown_divergence_is_named():
    with pytest.raises(ValueError, match="divergence is 'js'; it is one of linear"):
        imitation(torch.zeros(1), divergence="js")
    assert set(LOSSES) == {"linear", *F}
