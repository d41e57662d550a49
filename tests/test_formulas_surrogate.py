"""Policy-gradient and critic losses: the gradient at ratio one, clipping, extremes, what must not
be differentiated.
"""

from __future__ import annotations

import pytest
import torch

from assay.formulas import reduce, surrogate

SHAPE = (2, 3, 4)
SURROGATES = {
    "reinforce": lambda logp, old, A: surrogate.reinforce(logp, A),
    "clipped": lambda logp, old, A: surrogate.clipped(logp, old, A),
    "clipped higher": lambda logp, old, A: surrogate.clipped(logp, old, A, low=0.2, high=0.28),
    "clipped at once": lambda logp, old, A: surrogate.clipped(logp, old, A, low=0.0, high=0.0),
}


@pytest.fixture(params=SURROGATES)
def loss(request):
    return SURROGATES[request.param]


@pytest.mark.parametrize("one_an_answer", [True, False])
def test_the_gradient_at_ratio_one_is_minus_the_advantage(loss, one_an_answer):
    old = -torch.rand(SHAPE, dtype=torch.float64) * 5
    A = torch.randn(*SHAPE[:2], 1 if one_an_answer else 4, dtype=torch.float64)
    logp = old.clone().requires_grad_()
    out = loss(logp, old, A)
    assert out.shape == SHAPE  # never reduced
    (grad,) = torch.autograd.grad(out.sum(), logp)
    assert torch.equal(grad, -A.expand(SHAPE))


def test_no_gradient_into_advantages_or_old_logp(loss):
    logp, old, A = (torch.randn(SHAPE, requires_grad=True) for _ in range(3))
    into = torch.autograd.grad(loss(logp, old, A).sum(), (old, A), allow_unused=True)
    assert into == (None, None)


@pytest.mark.parametrize(("logp", "old"), [(-1e4, -1e4), (-1e4, -1.0), (-1.0, -1e4), (0.0, -1e4)])
@pytest.mark.parametrize("A", [1.0, -1.0, 0.0, 1e4, -1e4])
def test_finite_at_extremes(loss, logp, old, A):
    x = torch.full((1, 1, 1), logp, requires_grad=True)
    out = loss(x, torch.full((1, 1, 1), old), torch.full((1, 1, 1), A))
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert out.isfinite().all() and grad.isfinite().all()


def test_the_clip_keeps_exactly_the_gradients_that_still_improve():
    """∇ clipped = −Aρ where (A ≥ 0 and ρ ≤ 1+high) or (A ≤ 0 and ρ ≥ 1−low), 0 elsewhere: a mask of
    REINFORCE.
    """
    old = -torch.rand(500, 1, 1, dtype=torch.float64)
    logp = (old + 0.4 * torch.randn(500, 1, 1, dtype=torch.float64)).requires_grad_()
    A = torch.randn(500, 1, 1, dtype=torch.float64)
    (grad,) = torch.autograd.grad(surrogate.clipped(logp, old, A, low=0.2, high=0.28).sum(), logp)
    rho = (logp - old).exp().detach()
    keep = ((A >= 0) & (rho <= 1.28)) | ((A <= 0) & (rho >= 0.8))
    assert 0 < int(keep.sum()) < 500
    torch.testing.assert_close(grad, torch.where(keep, -A * rho, 0.0), rtol=0, atol=1e-12)


def test_the_clipped_loss_bounds_the_plain_one_from_above():
    logp, old, A = torch.randn(100, 1, 1), torch.randn(100, 1, 1), torch.randn(100, 1, 1)
    assert (surrogate.clipped(logp, old, A) >= -A * surrogate.ratio(logp, old)).all()


def test_a_ratio_to_an_unknown_probability_is_refused():
    old = torch.zeros(SHAPE)
    old[1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN in 1 of 24 places"):
        surrogate.clipped(torch.zeros(SHAPE), old, torch.zeros(2, 3, 1))


def test_an_empty_clip_range_is_refused():
    with pytest.raises(ValueError, match="low is -0.1"):
        surrogate.clipped(torch.zeros(SHAPE), torch.zeros(SHAPE), torch.zeros(2, 3, 1), low=-0.1)


@pytest.mark.parametrize("garbage", [torch.nan, 1e30, -1e30])
def test_values_behind_the_mask_change_no_value_and_no_gradient(loss, garbage):
    """Through reduce as descend does it, with logp 0 behind the mask as policies promise."""
    mask = torch.rand(SHAPE) < 0.6
    theta, old, A = torch.randn(SHAPE), torch.randn(SHAPE), torch.randn(SHAPE)
    results = []
    for behind in (0.0, garbage):
        x = torch.where(mask, theta, behind).requires_grad_()
        logp = torch.where(mask, x, x.new_zeros(()))
        out = loss(logp, torch.where(mask, old, 0.0), torch.where(mask, A, behind))
        w = reduce.per_completion(mask)
        value = torch.where(w != 0, w.to(out.dtype) * out, out.new_zeros(())).sum()
        results.append((value, torch.autograd.grad(value, x)[0]))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


class TestTheCritic:
    def test_by_hand(self):
        def at(v, old, target):
            return float(
                surrogate.value_clipped(
                    *(torch.full((1, 1, 1), x) for x in (v, old, target)), clip=0.2
                )
            )

        assert at(1.0, 1.0, 3.0) == pytest.approx(2.0)  # ½·2²
        assert at(2.0, 1.0, 3.0) == pytest.approx(
            0.5 * 1.8**2
        )  # clipped to 1.2: the pessimistic of ½·1² and ½·1.8²
        assert at(0.0, 1.0, 3.0) == pytest.approx(0.5 * 3.0**2)  # moving away is charged in full

    def test_the_gradient_before_any_move_is_v_minus_return(self):
        old, target = (
            torch.randn(SHAPE, dtype=torch.float64),
            torch.randn(SHAPE, dtype=torch.float64),
        )
        v = old.clone().requires_grad_()
        (grad,) = torch.autograd.grad(surrogate.value_clipped(v, old, target).sum(), v)
        torch.testing.assert_close(grad, old - target)

    def test_no_gradient_into_old_values_or_returns(self):
        v, old, target = (torch.randn(SHAPE, requires_grad=True) for _ in range(3))
        into = torch.autograd.grad(
            surrogate.value_clipped(v, old, target).sum(), (old, target), allow_unused=True
        )
        assert into == (None, None)
