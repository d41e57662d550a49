"""Which KL each estimator differentiates to, by exact enumeration of a softmax, in its three uses;
full KL; log-ratios.
"""

from __future__ import annotations

import pytest
import torch

from assay.formulas import divergence

THETA = torch.tensor([0.3, -0.8, 1.1, 0.0, -1.7], dtype=torch.float64)
REF = torch.tensor([-0.2, 0.5, 0.4, 1.3, -0.9], dtype=torch.float64).log_softmax(0)


def upside_down(logp, ref_logp):
    """e^ℓ − 1 − ℓ: k3 with the ratio turned over, as released code has it."""
    return torch.expm1(logp - ref_logp) - (logp - ref_logp)


def gradient(f) -> torch.Tensor:
    theta = THETA.clone().requires_grad_()
    return torch.autograd.grad(f(theta.log_softmax(0)), theta)[0]


def reverse(lp):
    return (lp.exp() * (lp - REF)).sum()


def forward(lp):
    return (REF.exp() * (REF - lp)).sum()


def chi2(lp):
    return (2 * lp - REF).exp().sum() - 1


def in_the_loss(k):
    """E_y[∇ k(y)]: answers held fixed, the term differentiated."""
    return gradient(lambda lp: (lp.detach().exp() * k(lp, REF)).sum())


def in_the_reward(k):
    """E_y[k(y)·∇ log π(y)]: the term detached, times the score function."""
    return gradient(lambda lp: (lp.detach().exp() * k(lp, REF).detach() * lp).sum())


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-8)


KL, FKL, CHI2 = gradient(reverse), gradient(forward), gradient(chi2)


class TestAsAValue:
    lp = THETA.log_softmax(0)

    def expect(self, k):
        return float((self.lp.exp() * k(self.lp, REF)).sum())

    def test_k1_and_k3_are_unbiased_and_k2_is_not(self):
        kl = float(reverse(self.lp))
        assert self.expect(divergence.k1) == pytest.approx(kl, abs=1e-12)
        assert self.expect(divergence.k3) == pytest.approx(kl, abs=1e-12)
        assert abs(self.expect(divergence.k2) - kl) > 0.01

    def test_k2_and_k3_are_never_negative_and_k1_is(self):
        assert (divergence.k2(self.lp, REF) >= 0).all() and (divergence.k3(self.lp, REF) >= 0).all()
        assert (divergence.k1(self.lp, REF) < 0).any()

    def test_k3_varies_less_than_k1(self):
        near = (
            self.lp,
            (THETA + 0.1 * torch.tensor([1.0, -1, 1, 0, 0], dtype=torch.float64)).log_softmax(0),
        )
        var = [
            float((near[0].exp() * k(*near).square()).sum() - (near[0].exp() * k(*near)).sum() ** 2)
            for k in (divergence.k1, divergence.k3)
        ]
        assert var[1] < var[0] / 10

    def test_upside_down_is_no_kl(self):
        assert self.expect(upside_down) == pytest.approx(
            float(chi2(self.lp) - reverse(self.lp)), abs=1e-12
        )


class TestInTheLoss:
    def test_k1_does_nothing(self):
        close(in_the_loss(divergence.k1), torch.zeros(5, dtype=torch.float64))

    def test_k2_is_the_kl_one_wants(self):
        close(in_the_loss(divergence.k2), KL)

    def test_k3_is_the_forward_kl(self):
        close(in_the_loss(divergence.k3), FKL)
        assert float((FKL - KL).abs().max()) > 0.05  # and that is another one

    def test_upside_down_is_half_of_chi_squared(self):
        close(in_the_loss(upside_down), 0.5 * CHI2)


class TestInTheReward:
    def test_k1_is_the_kl_one_wants(self):
        close(in_the_reward(divergence.k1), KL)

    def test_k2_is_biased(self):
        assert float((in_the_reward(divergence.k2) - KL).abs().max()) > 0.05

    def test_k3_is_the_difference_of_the_two_kls(self):
        close(in_the_reward(divergence.k3), KL - FKL)

    def test_upside_down_is_half_chi_squared_less_the_kl(self):
        close(in_the_reward(upside_down), 0.5 * CHI2 - KL)


class TestOverTwoDecisions:
    """π(a)π(b|a): a term a decision in the loss forgets that the first changes where the second is
    made.
    """

    logits, ref = torch.randn(
        2, 3 + 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )

    def split(self, x):
        return x[:3].log_softmax(0), x[3:].reshape(3, 3).log_softmax(-1)

    def use(self, f):
        x = self.logits.clone().requires_grad_()
        return torch.autograd.grad(f(*self.split(x), *self.split(self.ref)), x)[0]

    def test_reward_to_go_gives_the_sequence_kl_and_a_token_loss_does_not(self):
        def sequence(a, b, ra, rb):
            joint, ref = a[:, None] + b, ra[:, None] + rb
            return (joint.exp() * (joint - ref)).sum()

        def to_go(a, b, ra, rb):
            p = (a[:, None] + b).detach().exp()
            first, second = divergence.k1(a, ra).detach()[:, None], divergence.k1(b, rb).detach()
            return (p * ((first + second) * a[:, None] + second * b)).sum()

        def token_loss(a, b, ra, rb):
            p = (a[:, None] + b).detach().exp()
            return (p * (divergence.k2(a, ra)[:, None] + divergence.k2(b, rb))).sum()

        close(self.use(to_go), self.use(sequence))
        assert float((self.use(token_loss) - self.use(sequence)).abs().max()) > 0.01


def test_full_kl_summed_over_decisions_is_the_sequence_kl():
    a, ra = torch.randn(3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    b, rb = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    joint, ref = (
        a.log_softmax(0)[:, None] + b.log_softmax(-1),
        ra.log_softmax(0)[:, None] + rb.log_softmax(-1),
    )
    want = (joint.exp() * (joint - ref)).sum()
    got = divergence.kl_full(a, ra) + (a.softmax(0) * divergence.kl_full(b, rb)).sum()
    torch.testing.assert_close(got, want)


def test_full_kl_is_0_at_home_never_negative_and_differentiates_to_itself():
    x = torch.randn(50, 7)
    assert (divergence.kl_full(x, x) == 0).all()
    assert (divergence.kl_full(x, x + 1e-4 * torch.randn(50, 7)) >= 0).all()
    assert (divergence.kl_full(x, x + 3.0) < 1e-6).all()  # logits have a free constant
    close(gradient(lambda lp: divergence.kl_full(lp, REF)), KL)


def test_full_kl_at_extremes_and_with_excluded_choices():
    x = torch.tensor([[1e4, -1e4, 0.0], [0.0, -torch.inf, 1.0]], requires_grad=True)
    kl = divergence.kl_full(x, torch.tensor([[-1e4, 1e4, 0.0], [0.0, -torch.inf, 2.0]]))
    (grad,) = torch.autograd.grad(kl.sum(), x)
    assert kl.isfinite().all() and grad.isfinite().all() and kl[0].item() == pytest.approx(2e4)
    assert divergence.kl_full(
        torch.zeros(2), torch.tensor([0.0, -torch.inf])
    ).isinf()  # that is what it is


@pytest.mark.parametrize("k", [divergence.k1, divergence.k2, divergence.k3])
@pytest.mark.parametrize(("logp", "ref"), [(-1e4, -1.0), (-1.0, -1e4), (-1e4, -1e4)])
def test_estimators_are_finite_at_extremes(k, logp, ref):
    x = torch.tensor([logp], requires_grad=True)
    out = k(x, torch.tensor([ref]))
    assert out.isfinite().all() and torch.autograd.grad(out.sum(), x)[0].isfinite().all()


def test_k3_keeps_its_digits_near_home():
    """e^−ℓ − 1 + ℓ ≈ ½ℓ²: computed as it is written, float32 has none left at ℓ = 1e-3."""
    d = torch.tensor([1e-3])
    assert float(divergence.k3(d, torch.zeros(1))) == pytest.approx(0.5e-6, rel=1e-3)


def test_a_log_ratio_is_a_sum_and_not_a_mean():
    mask = torch.arange(20) < torch.tensor([[2, 20]])[..., None]
    logp, ref = torch.full((1, 2, 20), -1.0), torch.full((1, 2, 20), -1.1)
    assert divergence.log_ratio(logp, ref, mask)[0].tolist() == pytest.approx([0.2, 2.0], abs=1e-5)


@pytest.mark.parametrize("garbage", [torch.nan, 1e30])
def test_log_ratio_reads_nothing_behind_the_mask(garbage):
    mask = torch.tensor([[[True, True, False], [False, False, False]]])
    x = torch.where(mask, -1.0, garbage).requires_grad_()
    out = divergence.log_ratio(x, torch.where(mask, -2.0, garbage), mask)
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert out.tolist() == [[2.0, 0.0]] and torch.equal(grad, mask.float())
