"""The pairwise losses' other forms: IPO on means against IPO on sums, SLiC-HF, RSO's two losses as
constants of the others, rDPO's limit.
"""

from __future__ import annotations

import math

import pytest
import torch

from assay.formulas import pairwise
from assay.formulas.pairwise_forms import ipo_per_token, slic

B = 24


def ratios():
    g = torch.Generator().manual_seed(4)
    return 3 * torch.randn(2, B, dtype=torch.float64, generator=g)


def lengths(n: int):
    return torch.full((B,), n)


def settled(loss) -> float:
    """The difference of sums at which a loss is least, by descent."""
    z = torch.zeros(1, dtype=torch.float64)
    for _ in range(4000):
        z = z.requires_grad_()
        grad = torch.autograd.grad(loss(z, torch.zeros_like(z)).sum(), z)[0]
        z = (z - 0.4 * 25 * grad).detach()
    return float(z)


def test_ipo_per_token_is_ipo_on_sums_with_tau_over_the_length():
    (c, r), n = ratios(), lengths(5)
    torch.testing.assert_close(
        ipo_per_token(c, r, n, n, tau=0.2) * 25, pairwise.ipo(c, r, tau=0.2 / 5)
    )
    torch.testing.assert_close(
        ipo_per_token(c, r, lengths(1), lengths(1), tau=0.2), pairwise.ipo(c, r, tau=0.2)
    )


def test_at_the_same_tau_sums_part_by_a_length_more_than_means():
    n = torch.tensor([5])
    mean = settled(lambda c, r: ipo_per_token(c, r, n, n, tau=0.2))
    assert mean == pytest.approx(5 / (2 * 0.2), abs=1e-6)
    total = settled(lambda c, r: pairwise.ipo(c, r, tau=0.2) / 25)
    assert total == pytest.approx(1 / (2 * 0.2), abs=1e-6)


def test_of_unequal_lengths_no_tau_makes_them_equal():
    """Where the sums are equal IPO on sums sees no difference, and on means there is one."""
    same = torch.ones(1, dtype=torch.float64)
    out = ipo_per_token(same, same, torch.tensor([2]), torch.tensor([20]), tau=0.5)
    assert float(out) == pytest.approx((1 / 2 - 1 / 20 - 1) ** 2)
    assert float(pairwise.ipo(same, same, tau=0.5)) == 1.0


def test_exchange_of_ipo_per_token_and_of_slic():
    (c, r), p = ratios(), torch.rand(B, dtype=torch.float64)
    torch.testing.assert_close(
        ipo_per_token(c, r, lengths(3), lengths(7), tau=0.2, p=p),
        ipo_per_token(r, c, lengths(7), lengths(3), tau=0.2, p=1 - p),
    )
    t = torch.randn(B, dtype=torch.float64)
    torch.testing.assert_close(
        slic(c, r, t, margin=1.0, weight=0.3, p=p), slic(r, c, t, margin=1.0, weight=0.3, p=1 - p)
    )


def test_slic_by_hand_and_its_two_halves():
    c, r, t = (torch.tensor([x], dtype=torch.float64) for x in (-4.0, -4.5, -6.0))
    assert float(slic(c, r, t, margin=1.0, weight=0.1)) == pytest.approx(0.5 + 0.6)
    (c, r), t = ratios(), torch.zeros(B, dtype=torch.float64)
    torch.testing.assert_close(  # without its anchor it is the hinge on plain log-probabilities
        slic(c, r, t + 5, margin=1.0, weight=0.0), pairwise.hinge(c, r, beta=1.0, margin=1.0)
    )
    far = c - c.min() + r.max() + 2  # every winner leads by the margin: imitation alone is left
    torch.testing.assert_close(slic(far, r, t - 3, margin=1.0, weight=0.2), t + 0.6)


def test_slic_knows_no_reference():
    """What the reference says of the pair moves the hinge on log-ratios, and not SLiC."""
    c, r = torch.tensor([-4.0]).double(), torch.tensor([-5.0]).double()
    ref = torch.tensor([2.0]).double()
    t = torch.zeros(1).double()
    assert float(slic(c, r, t, margin=1.0, weight=0.0)) == 0.0
    assert float(pairwise.hinge(c - ref, r)) == 2.0


def test_gradients_of_slic_are_those_of_finite_differences():
    (c, r), t = ratios(), torch.randn(B, dtype=torch.float64)
    c, r, t = c[:5].requires_grad_(), r[:5].requires_grad_(), t[:5].requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: slic(*x, margin=1.0, weight=0.4), (c, r, t))


def test_rsos_losses_are_the_hinge_and_dpo_at_gamma():
    """hinge-norm max(0, 1 − γΔ) and sigmoid-norm −log σ(γΔ), written out."""
    (c, r), gamma = ratios(), 0.05
    torch.testing.assert_close(
        (1 - gamma * (c - r)).clamp(min=0), pairwise.hinge(c, r, beta=gamma, margin=1.0)
    )
    torch.testing.assert_close((1 + (-gamma * (c - r)).exp()).log(), pairwise.dpo(c, r, beta=gamma))


def test_the_length_regularised_form_is_a_margin_of_dpo():
    """R-DPO's σ(βΔ + α(|y_w| − |y_l|)), written out: a longer winner needs less log-ratio."""
    (c, r), more = ratios(), torch.arange(B).double() - 9
    alpha, beta = 0.05, 0.3
    torch.testing.assert_close(
        -(beta * (c - r) + alpha * more).sigmoid().log(),
        pairwise.dpo(c, r, beta=beta, margin=-alpha * more),
    )


def test_rdpos_limit_bounds_it_below_and_up_to_it_changes_nothing():
    zero = torch.zeros(1, dtype=torch.float64)
    far = torch.tensor([1e3], dtype=torch.float64, requires_grad=True)
    plain = pairwise.rdpo(far, zero, beta=1.0, flip=0.3)
    held = pairwise.rdpo(far, zero, beta=1.0, flip=0.3, limit=6.0)
    assert float(plain.detach()) < -700 < -5 < float(held.detach()) < 0
    assert float(torch.autograd.grad(held.sum(), far)[0]) == 0
    assert float(held.detach()) == pytest.approx(
        float(pairwise.rdpo(zero + 6, zero, beta=1.0, flip=0.3)), abs=1e-12
    )
    c, r = ratios()
    near = (0.5 * (c - r)).abs() < 2.0
    assert near.any() and not near.all()
    torch.testing.assert_close(
        pairwise.rdpo(c, r, beta=0.5, flip=0.3, limit=2.0)[near],
        pairwise.rdpo(c, r, beta=0.5, flip=0.3)[near],
    )


def test_within_its_limit_rdpo_is_unbiased_and_beyond_it_flips_pull_back():
    z = torch.linspace(-1.9, 1.9, 20, dtype=torch.float64)
    e, zero = 0.3, torch.zeros(20, dtype=torch.float64)

    def arriving(z):
        a = pairwise.rdpo(z, zero, beta=1.0, flip=e, limit=2.0)
        return (1 - e) * a + e * pairwise.rdpo(-z, zero, beta=1.0, flip=e, limit=2.0)

    torch.testing.assert_close(arriving(z), pairwise.dpo(z, zero, beta=1.0))
    beyond = torch.tensor([2.5], dtype=torch.float64, requires_grad=True)
    zero = zero[:1]
    assert float(torch.autograd.grad(arriving(beyond).sum(), beyond)[0]) > 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: slic(x, x, x, margin=1.0, weight=-0.1), "weight is -0.1"),
        (lambda x: ipo_per_token(x, x, lengths(2), lengths(2), tau=0.0), "tau is 0.0"),
        (lambda x: pairwise.rdpo(x, x, beta=1.0, flip=0.1, limit=0.0), "limit is 0.0"),
        (lambda x: pairwise.rdpo(x, x, beta=1.0, flip=0.1, limit=math.nan), "limit is nan"),
    ],
)
def test_constants_that_mean_nothing_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(torch.zeros(B))
