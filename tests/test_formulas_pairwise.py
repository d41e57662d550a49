"""Preference losses: exchange of answers and labels, optima, robustness by enumeration, extremes,
DPO's Gibbs policy.
"""

from __future__ import annotations

import math

import pytest
import torch

from assay.formulas import divergence, pairwise

LOSSES = {
    "bradley_terry": lambda c, r, p=None: pairwise.bradley_terry(c, r, p=p),
    "bradley_terry smoothed": lambda c, r, p=None: pairwise.bradley_terry(c, r, p=p, smoothing=0.1),
    "dpo": lambda c, r, p=None: pairwise.dpo(c, r, beta=0.3, p=p),
    "cdpo": lambda c, r, p=None: pairwise.dpo(c, r, beta=0.3, smoothing=0.2, p=p),
    "ipo": lambda c, r, p=None: pairwise.ipo(c, r, tau=0.1, p=p),
    "hinge": lambda c, r, p=None: pairwise.hinge(c, r, beta=0.5, p=p),
    "slic": lambda c, r, p=None: pairwise.hinge(c, r, margin=2.0, p=p),
    "rdpo": lambda c, r, p=None: pairwise.rdpo(c, r, beta=0.3, flip=0.2, p=p),
    "odds_ratio": lambda c, r, p=None: pairwise.odds_ratio(c, r, p=p),
}


def scores(*shape):
    return (
        -torch.rand(2, *shape, dtype=torch.float64) * 4 - 0.01
    )  # negative, so that they may be mean log-probabilities


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def test_exchanging_answers_and_labels_changes_nothing(loss):
    (c, r), p = scores(64), torch.rand(64, dtype=torch.float64)
    torch.testing.assert_close(loss(c, r, p), loss(r, c, 1 - p))


def test_a_margin_changes_sign_with_the_order():
    (c, r), p, m = (
        scores(64),
        torch.rand(64, dtype=torch.float64),
        torch.randn(64, dtype=torch.float64),
    )
    torch.testing.assert_close(
        pairwise.bradley_terry(c, r, p=p, margin=m),
        pairwise.bradley_terry(r, c, p=1 - p, margin=-m),
    )
    torch.testing.assert_close(
        pairwise.dpo(c, r, beta=1.0, p=p, margin=m),
        pairwise.dpo(r, c, beta=1.0, p=1 - p, margin=-m),
    )


def test_no_label_is_the_label_1(loss):
    c, r = scores(64)
    torch.testing.assert_close(loss(c, r), loss(c, r, torch.ones(64, dtype=torch.float64)))


def test_unreduced_and_each_pair_by_itself(loss):
    c, r = scores(7)
    assert loss(c, r).shape == (7,)
    r2 = r.clone()
    r2[3] = torch.nan
    keep = [0, 1, 2, 4, 5, 6]
    assert torch.equal(loss(c, r2)[keep], loss(c, r)[keep])


def test_only_the_difference_counts_but_in_odds(loss, request):
    c, r = scores(16)
    same = torch.allclose(loss(c - 1, r - 1), loss(c, r))
    assert same != (request.node.callspec.params["loss"] == "odds_ratio")


@pytest.mark.parametrize("z", [1e4, -1e4])
def test_finite_at_extremes(loss, z):
    c, r = (
        torch.tensor([z if z < 0 else 0.0], requires_grad=True),
        torch.tensor([0.0 if z < 0 else -z]),
    )
    out = loss(c, r, torch.tensor([0.7]))
    assert out.isfinite().all() and torch.autograd.grad(out.sum(), c)[0].isfinite().all()


def test_members_are_an_axis_that_labels_broadcast_over():
    c, r = scores(3, 5)
    p, m = torch.rand(5), torch.rand(5)
    out = pairwise.bradley_terry(c, r, p=p, margin=m)
    for k in range(3):
        torch.testing.assert_close(out[k], pairwise.bradley_terry(c[k], r[k], p=p, margin=m))


def optimum(f) -> float:
    """Where a loss of one difference is least, by bisection of its gradient on [−60, 60]."""
    low, high = -60.0, 60.0
    for _ in range(80):
        z = torch.tensor([(low + high) / 2], dtype=torch.float64, requires_grad=True)
        g = float(torch.autograd.grad(f(z, torch.zeros(1, dtype=torch.float64)).sum(), z)[0])
        low, high = (low, float(z.detach())) if g > 0 else (float(z.detach()), high)
    return (low + high) / 2


def test_label_smoothing_has_its_optimum_at_log_odds():
    for e in (0.05, 0.2, 0.4):
        want = math.log((1 - e) / e)
        assert optimum(
            lambda c, r, e=e: pairwise.bradley_terry(c, r, smoothing=e)
        ) == pytest.approx(want, abs=1e-9)
        assert optimum(
            lambda c, r, e=e: pairwise.dpo(c, r, beta=0.5, smoothing=e)
        ) == pytest.approx(want / 0.5, abs=1e-9)
        margin = torch.tensor([0.7], dtype=torch.float64)
        moved = optimum(
            lambda c, r, e=e, m=margin: pairwise.bradley_terry(c, r, smoothing=e, margin=m)
        )
        assert moved == pytest.approx(want + 0.7, abs=1e-9)


def test_soft_labels_have_their_optimum_at_the_labels_log_odds():
    p = torch.tensor([0.8], dtype=torch.float64)
    assert optimum(lambda c, r: pairwise.bradley_terry(c, r, p=p)) == pytest.approx(
        math.log(4), abs=1e-9
    )


def test_ipo_settles_at_1_over_2_tau_and_dpo_nowhere():
    assert optimum(lambda c, r: pairwise.ipo(c, r, tau=0.1)) == pytest.approx(5, abs=1e-9)
    assert optimum(lambda c, r: pairwise.dpo(c, r, beta=1.0)) == pytest.approx(
        60, abs=1e-6
    )  # the end of the bracket


def test_hinge_has_no_gradient_past_its_margin():
    z = torch.tensor([0.5, 1.5], requires_grad=True)
    assert torch.autograd.grad(pairwise.hinge(z, torch.zeros(2), beta=1, margin=1).sum(), z)[
        0
    ].tolist() == [-1, 0]


def test_rdpo_is_unbiased_under_flips_and_cdpo_is_not():
    """Both orders of each pair enumerated with their chances: a share ε arrives the wrong way
    round.
    """
    (c, r), e = scores(200), 0.3
    clean = pairwise.dpo(c, r, beta=0.7)

    def arriving(f):
        return (1 - e) * f(c, r) + e * f(r, c)

    torch.testing.assert_close(
        arriving(lambda a, b: pairwise.rdpo(a, b, beta=0.7, flip=e)), clean, rtol=0, atol=1e-12
    )
    for other in (
        lambda a, b: pairwise.dpo(a, b, beta=0.7),
        lambda a, b: pairwise.dpo(a, b, beta=0.7, smoothing=e),
    ):
        assert float((arriving(other) - clean).abs().max()) > 0.1


def test_rdpo_is_unbounded_below_with_its_slope():
    z = torch.tensor([1e3], dtype=torch.float64, requires_grad=True)
    out = pairwise.rdpo(z, torch.zeros(1, dtype=torch.float64), beta=1.0, flip=0.2)
    assert out.item() < -300 and torch.autograd.grad(out.sum(), z)[0].item() == pytest.approx(
        -0.2 / 0.6
    )


def test_rdpo_without_flips_and_cdpo_without_smoothing_are_dpo():
    c, r = scores(20)
    torch.testing.assert_close(pairwise.rdpo(c, r, beta=0.3, flip=0), pairwise.dpo(c, r, beta=0.3))
    torch.testing.assert_close(
        pairwise.dpo(c, r, beta=0.3, smoothing=0.0), pairwise.bradley_terry(0.3 * c, 0.3 * r)
    )


def test_dpo_takes_sums_over_the_answer_and_not_means():
    """Lengths 2 and 20 at 0.1 nat a token: the logit is β·(2.0 − 0.2); means would make it 0."""
    mask = torch.arange(20) < torch.tensor([[20, 2]])[..., None]
    ratio = divergence.log_ratio(torch.full((1, 2, 20), -1.0), torch.full((1, 2, 20), -1.1), mask)
    got = float(pairwise.dpo(ratio[:, 0], ratio[:, 1], beta=0.5))
    assert got == pytest.approx(-math.log(1 / (1 + math.exp(-0.5 * 1.8))), abs=1e-5)


def test_the_length_term_asks_less_of_a_longer_winner():
    """max E[r] − α|y| − β·KL gives σ(βΔ + α(|y_w| − |y_l|)): at the optimum a longer winner gets
    less log-ratio.
    """
    alpha, longer = 0.1, 10.0
    margin = torch.tensor([-alpha * longer], dtype=torch.float64)
    with_term = optimum(lambda c, r: pairwise.dpo(c, r, beta=1.0, smoothing=0.1, margin=margin))
    assert with_term == pytest.approx(math.log(9) - alpha * longer, abs=1e-9)


def test_dpo_on_every_pair_with_soft_labels_finds_the_gibbs_policy():
    """Its optimum is π₀·e^{r/β}: the gradient by the policy's log-probabilities is 0 there, and
    nowhere near.
    """
    reward, beta = torch.tensor([0.0, 0.5, 1.5, -1.0], dtype=torch.float64), 0.5
    ref = torch.randn(4, dtype=torch.float64).log_softmax(0)
    i, j = torch.triu_indices(4, 4, 1)

    def gradient(logits):
        lp = logits.clone().requires_grad_()
        ratio = lp.log_softmax(0) - ref
        loss = pairwise.dpo(
            ratio[i], ratio[j], beta=beta, p=torch.sigmoid(reward[i] - reward[j])
        ).sum()
        return float(torch.autograd.grad(loss, lp)[0].abs().max())

    assert gradient(ref + reward / beta) < 1e-12 < 1e-3 < gradient(ref + 1.1 * reward / beta)


def test_centring_pins_the_free_constant():
    c = torch.tensor([3.0], requires_grad=True)
    r = torch.tensor([1.0], requires_grad=True)
    assert float(pairwise.centring(c, r).detach()) == 16
    torch.testing.assert_close(
        *torch.autograd.grad(pairwise.centring(c, r).sum(), (c, r))
    )  # it moves both alike, never apart


def test_odds_ratio_by_hand_and_at_certainty():
    c, r = (
        torch.tensor([0.5], dtype=torch.float64).log(),
        torch.tensor([0.2], dtype=torch.float64).log(),
    )
    assert float(pairwise.odds_ratio(c, r)) == pytest.approx(
        -math.log(4 / 5), abs=1e-12
    )  # odds 1 and ¼: σ(log 4) = ⅘
    assert pairwise.odds_ratio(torch.zeros(1), torch.tensor([-1e4])).isfinite().all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: pairwise.bradley_terry(x, x, smoothing=0.6), "smoothing is 0.6"),
        (lambda x: pairwise.dpo(x, x, beta=1, smoothing=-0.1), "smoothing is -0.1"),
        (lambda x: pairwise.rdpo(x, x, beta=1, flip=0.5), "flip is 0.5"),
        (lambda x: pairwise.ipo(x, x, tau=0), "tau is 0"),
    ],
)
def test_constants_that_mean_nothing_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(torch.zeros(2))
