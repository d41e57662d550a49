"""Flows of logits: the gradients of both KLs, and whether they see what is never drawn."""

from __future__ import annotations

import math

import pytest
import torch

from assay.formulas.logit_flows import forward_kl_flow, reverse_kl_flow, squashed_cauchy

F64 = torch.float64


@pytest.fixture
def case():
    g = torch.Generator().manual_seed(2)
    z = torch.randn(3, 7, dtype=F64, generator=g, requires_grad=True)
    return z, torch.randn(3, 7, dtype=F64, generator=g).softmax(-1)


def test_they_are_minus_the_gradients_of_the_two_kls(case):
    z, q = case
    p = z.softmax(-1)
    forward, reverse = (q * (q / p).log()).sum(), (p * (p / q).log()).sum()
    for kl, flow in ((forward, forward_kl_flow), (reverse, reverse_kl_flow)):
        (gradient,) = torch.autograd.grad(kl, z, retain_graph=True)
        torch.testing.assert_close(flow(z.detach(), q), -gradient)


def test_both_keep_the_sum_of_logits_and_rest_at_the_target(case):
    z, q = case
    for flow in (forward_kl_flow, reverse_kl_flow):
        torch.testing.assert_close(flow(z.detach(), q).sum(-1), torch.zeros(3, dtype=F64))
        torch.testing.assert_close(flow(q.log(), q), torch.zeros_like(q))
    assert not torch.allclose(forward_kl_flow(z.detach(), q), reverse_kl_flow(z.detach(), q))


def test_the_reverse_flow_is_the_policy_gradient_of_the_tempered_reward(case):
    """q ∝ π₀·e^(r/β): the gradient of E r − β·KL(p‖π₀), over β, by enumeration."""
    z, prior = case
    r, beta = torch.randn(3, 7, dtype=F64), 0.3
    q = (prior.log() + r / beta).softmax(-1)
    p = z.softmax(-1)
    value = (p * r).sum() - beta * (p * (p / prior).log()).sum()
    (gradient,) = torch.autograd.grad(value, z)
    torch.testing.assert_close(reverse_kl_flow(z.detach(), q), gradient / beta)


def test_an_arm_that_is_never_drawn_is_pulled_up_by_the_forward_flow_alone():
    z = torch.tensor([0.0, 0.0, -60.0], dtype=F64)
    q = torch.tensor([0.05, 0.05, 0.9], dtype=F64)
    assert forward_kl_flow(z, q)[2] == pytest.approx(0.9)
    assert abs(reverse_kl_flow(z, q)[2]) < 1e-20


def test_the_reverse_flow_leaves_the_worse_of_two_modes_faster():
    """Most mass on a mode that the target hardly has: mode seeking moves more of it in a step."""
    z = torch.tensor([0.999, 0.001], dtype=F64).log()
    q = torch.tensor([1e-6, 1 - 1e-6], dtype=F64)
    near = torch.tensor([0.5, 0.5], dtype=F64).log()
    assert -reverse_kl_flow(near, q)[0] > 4 * -forward_kl_flow(near, q)[0]
    # and so far from the target's mode that it is never drawn, the order turns
    assert -reverse_kl_flow(z, q)[0] < -forward_kl_flow(z, q)[0]


def test_what_neither_has_moves_nothing():
    z, q = torch.tensor([0.0, 0.0, -torch.inf]), torch.tensor([0.3, 0.7, 0.0])
    for flow in (forward_kl_flow, reverse_kl_flow):
        assert flow(z, q).isfinite().all() and flow(z, q)[2] == 0


def test_the_squashed_cauchy_is_its_integral_with_its_heavy_ends():
    p = squashed_cauchy(bins=100, loc=-0.7, scale=0.4)
    assert float(p.sum()) == pytest.approx(1)
    middle = (p[1:-1].argmax() + 1).item()
    assert abs(-1 + 2 * (middle + 0.5) / 100 - math.tanh(-0.7)) < 0.1
    # the density of tanh(X) at the middle of a bin, times its width
    at = -1 + 2 * 40.5 / 100
    density = 1 / (math.pi * 0.4 * (1 + ((math.atanh(at) + 0.7) / 0.4) ** 2) * (1 - at**2))
    assert float(p[40]) == pytest.approx(density * 0.02, rel=1e-3)
    assert float(p[0]) == pytest.approx(0.5 + math.atan((math.atanh(-0.98) + 0.7) / 0.4) / math.pi)
    with pytest.raises(ValueError, match="scale is 0"):
        squashed_cauchy(bins=4, loc=0.0, scale=0)
