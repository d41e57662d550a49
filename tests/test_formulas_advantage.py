"""Baselines by exact enumeration of a bandit; degenerate groups; GAE; whitening."""

from __future__ import annotations

import itertools

import pytest
import torch

from assay.formulas import advantage, reduce, surrogate

ARMS = torch.tensor([0.2, -0.4, 0.7], dtype=torch.float64)
REWARD = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)


def expected_gradient(adv, K: int) -> torch.Tensor:
    """E[∇(−loss)] over every way of drawing K answers from a softmax, through the real surrogate
    and reduce.
    """
    theta = ARMS.clone().requires_grad_()
    mask = torch.ones(1, K, 1, dtype=torch.bool)
    total = torch.zeros_like(theta)
    for draws in itertools.product(range(len(ARMS)), repeat=K):
        index = torch.tensor(draws)
        logp = theta.log_softmax(0)[index]
        A = adv(REWARD[index][None], torch.ones(1, K, dtype=torch.bool))
        loss = (
            surrogate.reinforce(logp[None, :, None], A[..., None]) * reduce.per_completion(mask)
        ).sum()
        total -= logp.detach().sum().exp() * torch.autograd.grad(loss, theta)[0]
    return total


def true_gradient() -> torch.Tensor:
    theta = ARMS.clone().requires_grad_()
    return torch.autograd.grad((theta.softmax(0) * REWARD).sum(), theta)[0]


@pytest.mark.parametrize("K", [2, 3, 4])
def test_leave_one_out_is_unbiased(K):
    torch.testing.assert_close(
        expected_gradient(advantage.leave_one_out, K), true_gradient(), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("K", [2, 3, 4])
def test_the_group_mean_gives_k_minus_1_over_k(K):
    torch.testing.assert_close(
        expected_gradient(advantage.group_centred, K),
        (K - 1) / K * true_gradient(),
        rtol=0,
        atol=1e-10,
    )


def test_the_standardised_group_is_not_a_rescaled_gradient():
    ratio = (
        expected_gradient(lambda r, m: advantage.group_standardised(r, m, eps=0.0), 3)
        / true_gradient()
    )
    assert (
        float(ratio.max() / ratio.min()) > 1.05
    )  # exact, so no accident: the coordinates disagree about the factor
    exact = expected_gradient(advantage.leave_one_out, 3) / true_gradient()
    assert float(exact.max() / exact.min()) == pytest.approx(1, abs=1e-10)


def test_leave_one_out_is_k_over_k_minus_1_times_centred():
    r, present = torch.rand(4, 5, dtype=torch.float64), torch.rand(4, 5) < 0.7
    K = present.sum(-1, keepdim=True).double()
    want = torch.where(present & (K > 1), K / (K - 1) * advantage.group_centred(r, present), 0.0)
    torch.testing.assert_close(advantage.leave_one_out(r, present), want)


def test_binary_rewards_have_grpos_closed_form():
    """Pass rate p: A₊ = √((1−p)/p), A₋ = −√(p/(1−p)) with the population deviation."""
    r = torch.tensor([[1.0, 0, 0, 0, 1]], dtype=torch.float64)
    A = advantage.group_standardised(r, torch.ones(1, 5, dtype=torch.bool), eps=0.0, ddof=0)
    torch.testing.assert_close(
        A[0, :2], torch.tensor([(0.6 / 0.4) ** 0.5, -((0.4 / 0.6) ** 0.5)], dtype=torch.float64)
    )


def test_the_published_constants_are_the_defaults():
    """Of 0 and 1: s = √½ with ddof 1, and ε₀ = 1e-4 beside it."""
    A = advantage.group_standardised(
        torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool)
    )
    assert A[0].tolist() == pytest.approx(
        [-0.5 / (0.5**0.5 + 1e-4), 0.5 / (0.5**0.5 + 1e-4)], abs=1e-12
    )


@pytest.mark.parametrize("adv", [advantage.leave_one_out, advantage.group_centred])
def test_what_only_centres_keeps_the_scale_of_rewards_and_forgets_their_origin(adv):
    r, present = torch.rand(3, 4, dtype=torch.float64), torch.ones(3, 4, dtype=torch.bool)
    torch.testing.assert_close(adv(3 * r + 7, present), 3 * adv(r, present))


def test_ddof_is_a_factor_of_root_8_over_7():
    r, present = torch.rand(3, 8, dtype=torch.float64), torch.ones(3, 8, dtype=torch.bool)
    ratio = advantage.group_standardised(
        r, present, eps=0.0, ddof=0
    ) / advantage.group_standardised(r, present, eps=0.0, ddof=1)
    torch.testing.assert_close(ratio, torch.full_like(ratio, (8 / 7) ** 0.5))


@pytest.mark.parametrize(
    "adv",
    [
        advantage.leave_one_out,
        advantage.group_centred,
        advantage.group_standardised,
        lambda r, m: advantage.group_standardised(r, m, eps=0.0, ddof=0),
    ],
)
class TestDegenerateGroups:
    def test_equal_rewards_give_exact_zeros(self, adv):
        r = torch.full((1, 7), 0.1)  # 0.1 has no exact mean in float32
        assert (adv(r, torch.ones(1, 7, dtype=torch.bool)) == 0).all()

    def test_a_single_answer_and_none_give_zeros(self, adv):
        present = torch.tensor([[True, False, False], [False, False, False]])
        assert (adv(torch.tensor([[5.0, 1, 2], [1, 2, 3]]), present) == 0).all()

    def test_huge_scores_stay_finite(self, adv):
        r = torch.tensor([[1e30, -1e30, 0.0], [1e30, 1e30, 1e30]])
        out = adv(r, torch.ones(2, 3, dtype=torch.bool))
        assert out.isfinite().all() and out[0, 0] > 0 > out[0, 1] and (out[1] == 0).all()

    def test_advantages_add_up_to_nothing(self, adv):
        r, present = torch.rand(6, 5, dtype=torch.float64), torch.rand(6, 5) < 0.7
        torch.testing.assert_close(
            adv(r, present).sum(-1), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-10
        )

    def test_no_gradient_passes(self, adv):
        r = torch.rand(2, 4, requires_grad=True)
        assert not adv(r, torch.ones(2, 4, dtype=torch.bool)).requires_grad


def test_leave_one_out_of_one_is_refused():
    with pytest.raises(ValueError, match="at least two completions"):
        advantage.leave_one_out(torch.zeros(3, 1), torch.ones(3, 1, dtype=torch.bool))


def steps(seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    mask = torch.tensor(
        [[[1, 1, 1, 1], [1, 1, 0, 0]], [[1, 0, 1, 1], [0, 0, 0, 0]]], dtype=torch.bool
    )  # 1,0,1,1: a tool
    return (
        torch.randn(2, 2, 4, generator=g).double(),
        torch.randn(2, 2, 5, generator=g).double(),
        mask,
    )


def test_gae_of_lambda_1_is_returns_minus_values():
    r, v, mask = steps()
    want = torch.where(mask, advantage.returns_to_go(r, mask, gamma=0.9) - v[..., :-1], 0.0)
    torch.testing.assert_close(advantage.gae(r, v, mask, gamma=0.9, lam=1.0), want)


def test_gae_of_lambda_0_is_the_one_step_error_and_0_follows_the_end():
    r, v, mask = steps()
    A = advantage.gae(r, v, mask, gamma=0.9, lam=0.0)
    assert float(A[0, 1, 1]) == pytest.approx(
        float(r[0, 1, 1] - v[0, 1, 1])
    )  # the last decision: nothing follows it
    assert float(A[0, 0, 3]) == pytest.approx(
        float(r[0, 0, 3] - v[0, 0, 3])
    )  # cut at T: entry T is not read
    assert float(A[1, 0, 0]) == pytest.approx(
        float(r[1, 0, 0] + 0.9 * v[1, 0, 2] - v[1, 0, 0])
    )  # the given step takes no time


def test_gae_by_its_definition():
    r, v, mask = steps(1)
    g, lam = 0.9, 0.7
    rr, vv = r[0, 0], [*v[0, 0, :4].tolist(), 0.0]
    delta = [float(rr[t]) + g * vv[t + 1] - vv[t] for t in range(4)]
    want = [sum((g * lam) ** (k - t) * delta[k] for k in range(t, 4)) for t in range(4)]
    assert advantage.gae(r, v, mask, gamma=g, lam=lam)[0, 0].tolist() == pytest.approx(
        want, abs=1e-12
    )


def test_whitening_has_mean_0_and_variance_1_over_what_is_not_masked():
    x, mask = torch.randn(3, 4, 5, dtype=torch.float64) * 7 + 3, torch.rand(3, 4, 5) < 0.6
    w = advantage.whiten(x, mask)
    assert float(w[mask].mean()) == pytest.approx(0, abs=1e-12)
    assert float(w[mask].var(correction=0)) == pytest.approx(1, abs=1e-12)
    assert (w[~mask] == 0).all()
    torch.testing.assert_close(
        advantage.whiten(5 * x - 2, mask), w
    )  # so an affine reward is a change of the KL weight


@pytest.mark.parametrize("x", [torch.full((2, 3), 0.1), torch.full((2, 3), 1e30)])
def test_whitening_what_does_not_vary_gives_zeros(x):
    assert (advantage.whiten(x, torch.ones(2, 3, dtype=torch.bool)) == 0).all()
    assert (advantage.whiten(x, torch.zeros(2, 3, dtype=torch.bool)) == 0).all()
