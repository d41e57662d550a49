"""The REC family, its relatives, and where each one ends on three arms that another policy sampled:
μ = (.3, .6, .1), r = (0, .8, 1), from exact gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from assay.formulas.advantage import group_centred
from assay.formulas.group_shaping import log_mean_exp_centred, without_surplus
from assay.formulas.off_policy import (
    asymre,
    opmd,
    pairwise_consistency,
    rec,
    rec_mask,
    red_weight,
)
from assay.formulas.surrogate import clipped

F = torch.float64
MU, R = torch.tensor([0.3, 0.6, 0.1], dtype=F), torch.tensor([0.0, 0.8, 1.0], dtype=F)
A = (R - MU @ R)[None, :, None]
OLD, MASK = MU.log()[None, :, None], torch.ones(1, 3, 1, dtype=torch.bool)


def ends(loss: Callable[[Tensor], Tensor], steps: int = 500, rate: float = 3.0) -> list[float]:
    """Where exact gradient descent on Σ_a μ(a)·loss(a) ends, from μ."""
    theta = MU.log().clone().requires_grad_()
    for _ in range(steps):
        value = (MU * loss(theta.log_softmax(-1)[None, :, None])[0, :, 0]).sum()
        (g,) = torch.autograd.grad(value, theta)
        theta = (theta - rate * g).detach().requires_grad_()
    return theta.softmax(-1).tolist()


def test_plain_reinforce_takes_the_arm_that_was_sampled_often() -> None:
    pi = ends(lambda p: rec(p, OLD, A, shape="none"))
    assert pi[1] > 0.99, "the second best: μ·(r − E r) is largest there"


@pytest.mark.parametrize("delta", [0.6, 1.0, 3.0])
def test_asymre_ends_at_its_closed_form(delta: float) -> None:
    expected = MU * (R - MU @ R + delta) / delta
    found = ends(lambda p: asymre(p, A, delta=delta), rate=2 / delta)
    assert found == pytest.approx(expected.tolist(), abs=1e-4)
    if delta == 1.0:
        assert expected.tolist() == pytest.approx([0.126, 0.732, 0.142], abs=1e-3)


def test_opmd_does_not_end_at_the_gibbs_policy_and_the_pairwise_loss_does() -> None:
    gibbs = (MU.log() + R / 0.3).softmax(-1).tolist()
    assert gibbs == pytest.approx([0.026, 0.736, 0.239], abs=1e-3)
    mean = ends(lambda p: opmd(p, OLD, A, MASK, tau=0.3))
    assert mean == pytest.approx([0.041, 0.766, 0.193], abs=1e-3)
    assert max(abs(x - y) for x, y in zip(mean, gibbs, strict=True)) > 0.01 and mean[1] > mean[2]
    theta = MU.log().clone().requires_grad_()
    for _ in range(500):
        ratios = (theta.log_softmax(-1) - MU.log())[None]
        loss = pairwise_consistency(ratios, R[None], MASK[..., 0], tau=0.3).sum()
        (g,) = torch.autograd.grad(loss, theta)
        theta = (theta - 8.0 * g).detach().requires_grad_()
    assert theta.softmax(-1).tolist() == pytest.approx(gibbs, abs=1e-4)


def test_no_default_mask_finds_the_best_arm_and_strong_weighting_does() -> None:
    masked = ends(lambda p: rec(p, OLD, A, low=0.6, high=2.0), rate=0.02, steps=1000)
    assert masked[1] > 0.7 > masked[2]
    plain, strong = (
        ends(lambda p, t=t: -red_weight(A, temperature=t) * p, steps=300, rate=0.1)
        for t in (1.0, 0.05)
    )
    assert plain[1] > 0.8 and strong[2] > 0.9


def test_the_pairwise_loss_at_the_sampler_is_group_relative_reinforce() -> None:
    logp = torch.randn(2, 5, dtype=F, generator=torch.Generator().manual_seed(0))
    r = torch.rand(2, 5, dtype=F, generator=torch.Generator().manual_seed(1))
    logp.requires_grad_()
    present = torch.ones(2, 5, dtype=torch.bool)
    loss = pairwise_consistency(logp - logp.detach(), r, present, tau=0.7)
    (g,) = torch.autograd.grad(loss.sum(), logp)
    torch.testing.assert_close(g, -2 * 0.7 / 5 * (r - r.mean(-1, keepdim=True)))
    pairs = sum((r[:, i] - r[:, j]) ** 2 for i in range(5) for j in range(i)) / 25
    torch.testing.assert_close(loss.detach(), pairs)


def test_one_side_with_the_weight_has_ppo_s_gradient() -> None:
    g = torch.Generator().manual_seed(2)
    old = -torch.rand(50, 4, 3, generator=g, dtype=F)
    logp = (old + 0.4 * torch.randn(50, 4, 3, generator=g, dtype=F)).requires_grad_()
    adv = torch.randn(50, 4, 1, generator=g, dtype=F)
    ppo, own, bare = (
        torch.autograd.grad(x.sum(), logp)[0]
        for x in (
            clipped(logp, old, adv, low=0.2, high=0.3),
            rec(logp, old, adv, low=0.2, high=0.3, weighted=True),
            rec(logp, old, adv, low=0.2, high=0.3),
        )
    )
    torch.testing.assert_close(own, ppo, rtol=0, atol=1e-12)
    assert torch.equal(bare != 0, own != 0) and not torch.allclose(bare, own)


def test_the_ring_adds_the_harmless_far_side_to_the_band() -> None:
    rho = torch.tensor([0.1, 0.5, 1.0, 1.5, 4.0])
    for a, one, two, ring in (
        (1.0, [1, 1, 1, 0, 0], [0, 0, 1, 0, 0], [1, 0, 1, 0, 0]),
        (-1.0, [0, 0, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 1, 0, 1]),
    ):
        adv = torch.full((5,), a)
        for shape, kept in (("one_side", one), ("two_side", two), ("ring", ring)):
            assert rec_mask(rho, adv, shape=shape).int().tolist() == kept, shape
    with pytest.raises(ValueError, match="shape is 'square'"):
        rec_mask(rho, rho, shape="square")


def test_the_square_of_the_sequence_is_not_the_sum_of_the_tokens_squares() -> None:
    logp = torch.tensor([[[-1.0, -2.0]]], dtype=F, requires_grad=True)
    old, zero = torch.tensor([[[-1.5, -1.5]]], dtype=F), torch.zeros(1, 1, 1, dtype=F)
    mask = torch.ones(1, 1, 2, dtype=torch.bool)
    whole = opmd(logp, old, zero, mask, tau=1.0).detach().sum()
    each = opmd(logp, old, zero, mask, tau=1.0, sequence=False).detach().sum()
    assert float(whole) == pytest.approx(0.0) and float(each) == pytest.approx(0.25)


def test_the_sequence_s_mask_keeps_or_leaves_a_completion_as_a_whole() -> None:
    """By hand: log-ratios (.4, −.2) have the mean .1, e^.1 = 1.105."""
    old = torch.zeros(1, 1, 2, dtype=F)
    logp = torch.tensor([[[0.4, -0.2]]], dtype=F, requires_grad=True)
    one, mask = torch.ones(1, 1, 1, dtype=F), torch.ones(1, 1, 2, dtype=torch.bool)
    for high, token, sequence in ((0.2, [0, 1], [1, 1]), (0.05, [0, 1], [0, 0])):
        for m, kept in ((None, token), (mask, sequence)):
            loss = rec(logp, old, one, high=high, mask=m)
            (g,) = torch.autograd.grad(loss.sum(), logp)
            assert (g != 0).int().tolist() == [[kept]]


class TestGroupShaping:
    HERE = torch.tensor([[True, True, True, True, True, False]])
    R1 = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0, 9.0]], dtype=F)

    def test_what_is_left_of_a_group_is_balanced_and_its_mean_taken_anew(self) -> None:
        u = torch.tensor([[0.0, 0.4, 0.1, 0.2, 0.3, 0.0]], dtype=F)
        kept = without_surplus(self.R1, self.HERE, u)
        assert kept.int().tolist() == [[1, 1, 0, 0, 0, 0]], "three of four bad ones, least u first"
        assert group_centred(self.R1, kept).tolist() == [[0.5, -0.5, 0, 0, 0, 0]]

    def test_equal_rewards_and_good_groups_lose_none(self) -> None:
        u = torch.zeros(1, 6, dtype=F)
        tenth = torch.full((1, 6), 0.1, dtype=F)
        assert torch.equal(without_surplus(tenth, self.HERE, u), self.HERE)
        assert torch.equal(without_surplus(-self.R1, self.HERE, u), self.HERE)

    def test_each_bad_one_is_dropped_as_often(self) -> None:
        u = torch.rand(4000, 6, dtype=F, generator=torch.Generator().manual_seed(3))
        here, r = self.HERE.expand(4000, 6), self.R1.expand(4000, 6)
        share = without_surplus(r, here, u).double().mean(0)
        assert share.tolist() == pytest.approx([1, 0.25, 0.25, 0.25, 0.25, 0], abs=0.03)

    def test_log_mean_exp_lies_between_the_mean_and_the_largest(self) -> None:
        centred = group_centred(self.R1, self.HERE)
        far = log_mean_exp_centred(self.R1, self.HERE, tau=1e6)
        torch.testing.assert_close(far, centred, atol=1e-6, rtol=0)
        near = log_mean_exp_centred(self.R1, self.HERE, tau=1e-3)
        assert float(near.max()) == pytest.approx(0.0, abs=0.01) and near[0, 5] == 0
        with pytest.raises(ValueError, match="tau is 0"):
            log_mean_exp_centred(self.R1, self.HERE, tau=0)

    def test_at_log_mean_exp_the_gibbs_policy_has_no_advantage_left(self) -> None:
        """r − τ·log(π/μ) = τ·log Z there, and the baseline over all arms by μ is τ·log Z."""
        tau, counts = 0.3, (MU * 10).round().long()
        r = R.repeat_interleave(counts)[None]
        gibbs = (MU.log() + R / tau).log_softmax(-1) - MU.log()
        a = log_mean_exp_centred(r, torch.ones_like(r, dtype=torch.bool), tau=tau)
        torch.testing.assert_close(a, tau * gibbs.repeat_interleave(counts)[None])
