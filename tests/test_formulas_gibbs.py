"""f-divergences to the Gibbs target: exact gradients by enumeration, which of them seeks and which
covers, and λ for moments.
"""

from __future__ import annotations

import math

import pytest
import torch

from assay.formulas.divergence import kl_full
from assay.formulas.gibbs import (
    DIVERGENCES,
    at_the_target,
    effective_share,
    f_divergence,
    pseudo_reward,
    sampled_divergence,
    tilting,
)

G = torch.Generator().manual_seed(0)
LOGITS, BASE, SCORE = (torch.randn(3, 7, dtype=torch.float64, generator=G) for _ in range(3))


def target(beta: float = 0.7):
    return torch.log_softmax(BASE.log_softmax(-1) + SCORE / beta, -1)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_policy_gradient_is_the_gradient_of_the_divergence(divergence):
    """Over all completions, without sampling: Σ π·(−f'(t))·∇log π = −∇E_p[f(π/p)], to 1e-10."""
    z = LOGITS.clone().requires_grad_(True)
    (exact,) = torch.autograd.grad(
        f_divergence(z.log_softmax(-1), target(), divergence=divergence).sum(), z
    )
    z = LOGITS.clone().requires_grad_(True)
    lp = z.log_softmax(-1)
    reward = pseudo_reward((lp - target()).detach(), divergence=divergence)
    (score_function,) = torch.autograd.grad((lp.exp().detach() * reward * lp).sum(), z)
    torch.testing.assert_close(score_function, -exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_zero_at_the_target_and_positive_elsewhere(divergence):
    p = target()
    torch.testing.assert_close(
        f_divergence(p, p, divergence=divergence),
        torch.zeros(3, dtype=torch.float64),
        atol=1e-12,
        rtol=0,
    )
    assert (f_divergence(LOGITS.log_softmax(-1), p, divergence=divergence) > 0.01).all()
    at = pseudo_reward(torch.zeros(1), divergence=divergence)
    assert float(at) == pytest.approx(at_the_target(divergence=divergence), abs=1e-7)


def test_two_of_them_are_the_kls_and_one_is_half_the_l1():
    lp, p = LOGITS.log_softmax(-1), target()
    torch.testing.assert_close(f_divergence(lp, p, divergence="reverse"), kl_full(lp, p))
    torch.testing.assert_close(f_divergence(lp, p, divergence="forward"), kl_full(p, lp))
    torch.testing.assert_close(
        f_divergence(lp, p, divergence="total_variation"), 0.5 * (lp.exp() - p.exp()).abs().sum(-1)
    )
    m = torch.logaddexp(lp, p) - math.log(2)
    torch.testing.assert_close(
        f_divergence(lp, p, divergence="jensen_shannon"), 0.5 * (kl_full(lp, m) + kl_full(p, m))
    )
    torch.testing.assert_close(
        f_divergence(lp, p, divergence="chi_squared"), (p.exp().square() / lp.exp()).sum(-1) - 1
    )


def test_the_regularised_objective_is_the_reverse_kl():
    """E r − β·KL(π‖π₀) = β·log Z − β·KL(π‖p), for any policy."""
    lp, lq, beta = LOGITS.log_softmax(-1), BASE.log_softmax(-1), 0.7
    value = (lp.exp() * SCORE).sum(-1) - beta * kl_full(lp, lq)
    log_z = (lq + SCORE / beta).logsumexp(-1)
    torch.testing.assert_close(
        value, beta * (log_z - f_divergence(lp, target(beta), divergence="reverse"))
    )


def test_the_forward_weight_has_mean_zero_with_its_baseline():
    lp, p = LOGITS.log_softmax(-1), target()
    weight = pseudo_reward(lp - p, divergence="forward") - at_the_target(divergence="forward")
    torch.testing.assert_close(
        (lp.exp() * weight).sum(-1), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0
    )


def test_a_restricted_policy_seeks_one_mode_or_covers_both():
    """Two independent bits against a target that is all 00 or all 11: no product of bits has both
    modes.
    """
    p = torch.tensor([0.55, 0.0001, 0.0001, 0.4498], dtype=torch.float64).log()  # 00 01 10 11
    found = {}
    for divergence in ("reverse", "forward", "jensen_shannon"):
        z = torch.tensor([0.3, 0.2], dtype=torch.float64, requires_grad=True)  # log-odds of a 0
        for _ in range(600):
            zero, one = torch.nn.functional.logsigmoid(z), torch.nn.functional.logsigmoid(-z)
            lp = torch.stack(
                [zero[0] + zero[1], zero[0] + one[1], one[0] + zero[1], one[0] + one[1]]
            )
            (g,) = torch.autograd.grad(f_divergence(lp, p, divergence=divergence), z)
            z = (z - 1.0 * g.clamp(-1, 1)).detach().requires_grad_(True)
        lp = lp.detach()
        found[divergence] = (float(-(lp.exp() * lp).sum()), float(lp[0].exp()))
    assert found["reverse"][0] < 0.1 and found["reverse"][1] > 0.99  # one mode, and no entropy
    assert (
        found["forward"][0] > 1.3 and abs(found["forward"][1] - 0.55**2) < 0.01
    )  # both marginals, and much that is neither
    assert found["reverse"][0] <= found["jensen_shannon"][0] < found["forward"][0]


def test_lambda_matches_the_moments_it_was_asked_for():
    phi = torch.randn(2, 4000, dtype=torch.float64, generator=G)
    phi[1] += 0.6 * phi[0]
    lam = tilting(phi, torch.tensor([0.8, 0.2], dtype=torch.float64))
    mean = (torch.softmax(lam @ phi, -1) * phi).sum(-1)
    torch.testing.assert_close(
        mean, torch.tensor([0.8, 0.2], dtype=torch.float64), atol=1e-7, rtol=0
    )
    torch.testing.assert_close(
        tilting(phi, phi.mean(-1)), torch.zeros(2, dtype=torch.float64), atol=1e-8, rtol=0
    )
    one = tilting(
        torch.tensor([[0.0, 1.0, 1.0, 0.0]]), torch.tensor([0.9])
    )  # a fair coin made 90 %: log-odds log 9
    assert float(one) == pytest.approx(math.log(9), abs=1e-5)


def test_moments_out_of_reach_are_refused():
    with pytest.raises(ValueError, match="they span"):
        tilting(torch.tensor([[0.0, 1.0]]), torch.tensor([1.5]))


def test_effective_share_by_hand_and_extremes():
    assert float(effective_share(torch.zeros(5))) == pytest.approx(1)
    assert float(effective_share(torch.tensor([1000.0, 0.0, 0.0, 0.0]))) == pytest.approx(0.25)
    assert float(effective_share(torch.tensor([2.0, 1.0]).log())) == pytest.approx(9 / 10)
    for divergence in DIVERGENCES:
        assert (
            pseudo_reward(torch.tensor([-1e30, 1e30, 0.0]), divergence=divergence)[:1]
            .isfinite()
            .all()
        )


@pytest.mark.parametrize(
    "f",
    [
        lambda: pseudo_reward(SCORE, divergence="kl"),
        lambda: f_divergence(SCORE, SCORE, divergence="kl"),
    ],
)
def test_a_divergence_that_is_none_is_refused(f):
    with pytest.raises(ValueError, match="divergence is 'kl'"):
        f()


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_what_completions_average_is_the_divergence(divergence: str) -> None:
    lp, p = LOGITS.log_softmax(-1), target()
    said = (lp.exp() * sampled_divergence(lp - p, divergence=divergence)).sum(-1)
    torch.testing.assert_close(said, f_divergence(lp, p, divergence=divergence))


def test_what_completions_average_asks_for_a_known_divergence() -> None:
    with pytest.raises(ValueError, match="divergence is 'kl'"):
        sampled_divergence(torch.zeros(1), divergence="kl")
