"""Losses of ranked lists: with two completions they are DPO's, invariances, ties and absences by
enumeration, optima, gradients.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from assay.formulas import pairwise
from assay.formulas.lambda_loss import (
    exchanged,
    lambda_loss,
    lambda_weights,
    ranks,
    unit_labels,
    win_rates,
)
from assay.formulas.listwise import (
    MOST,
    all_pairs,
    best_versus_worst,
    plackett_luce,
    softmax_cross_entropy,
)
from assay.formulas.reduce import per_list

LOSSES = {
    "lambda": lambda_loss,
    "all_pairs": all_pairs,
    "best_versus_worst": best_versus_worst,
    "softmax": softmax_cross_entropy,
    "plackett_luce": plackett_luce,
}
# |G₁ − G₂|·|1/D₁ − 1/D₂| of labels 1 and 0: what LiPO-λ weighs a list of two by
TWO = 1 / math.log(2) - 1 / math.log(3)


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def lists(B: int = 16, K: int = 5):
    g = torch.Generator().manual_seed(3)
    s = torch.randn(B, K, dtype=torch.float64, generator=g)
    return s, unit_labels(torch.randn(B, K, dtype=torch.float64, generator=g))


def test_two_completions_are_a_pair_of_dpo(loss):
    s, _ = lists(K=2)
    first = torch.arange(16) % 2 == 0
    psi = torch.stack([first, ~first], -1).double()
    w, l = s.gather(1, (~first).long()[:, None])[:, 0], s.gather(1, first.long()[:, None])[:, 0]
    want = pairwise.dpo(w, l, beta=1.0) * (TWO if loss is lambda_loss else 1.0)
    torch.testing.assert_close(loss(s, psi), want, rtol=1e-12, atol=1e-12)


def test_a_constant_of_all_scores_and_the_order_of_the_list_change_nothing(loss):
    s, psi = lists()
    torch.testing.assert_close(loss(s + 3.0, psi), loss(s, psi))
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(loss(s[:, order], psi[:, order]), loss(s, psi))


def test_of_labels_only_the_order_counts_but_in_lambda_and_softmax(loss):
    s, psi = lists()
    same = torch.allclose(loss(s, psi.square()), loss(s, psi))
    assert same == (loss not in (lambda_loss, softmax_cross_entropy))


def test_an_absent_completion_is_as_if_it_were_never_there(loss):
    s, psi = lists()
    here = torch.ones_like(s, dtype=torch.bool)
    here[:, 2] = False
    holes = torch.where(here, s, torch.nan).requires_grad_()
    out = loss(holes, torch.where(here, psi, torch.nan), present=here)
    kept = [0, 1, 3, 4]
    torch.testing.assert_close(out, loss(s[:, kept], psi[:, kept]))
    grad = torch.autograd.grad(out.sum(), holes)[0]
    assert grad.isfinite().all() and (grad[:, 2] == 0).all() and (grad[:, kept] != 0).any()


@pytest.mark.parametrize("left", [0, 1, 5])
def test_a_list_that_orders_nothing_has_no_loss_and_no_gradient(loss, left):
    """None present, one present, or five that all tie."""
    s = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    here = (torch.arange(5) < left).expand(3, 5)
    out = loss(s, torch.full((3, 5), 0.5, dtype=torch.float64), present=here)
    assert out.abs().max() < 1e-12
    assert torch.autograd.grad(out.sum(), s)[0].abs().max() < 1e-12


def test_gradients_are_those_of_finite_differences(loss):
    s, psi = lists(B=3, K=4)
    psi[0, 1] = psi[0, 3]  # a tie
    here = torch.ones_like(s, dtype=torch.bool)
    here[1, 0] = False
    assert torch.autograd.gradcheck(
        lambda x: loss(x, psi, present=here), s.requires_grad_(), eps=1e-7, atol=1e-6
    )


def test_a_step_down_the_gradient_brings_the_scores_into_the_labels_order(loss):
    s = torch.zeros(1, 4, dtype=torch.float64)
    psi = torch.tensor([[0.3, 1.0, 0.0, 0.6]], dtype=torch.float64)
    for _ in range(300):
        s = s.requires_grad_()
        s = (s - 0.1 * torch.autograd.grad(loss(s, psi).sum(), s)[0]).detach()
    if loss is best_versus_worst:
        assert s[0, 1] > 0 > s[0, 2] and s[0, 0] == s[0, 3] == 0
    else:
        assert s[0].argsort(descending=True).tolist() == [1, 3, 0, 2]


def test_finite_where_scores_are_far_apart(loss):
    s = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    out = loss(s, torch.tensor([[0.0, 1.0, 1.0]]))
    assert out.isfinite().all() and torch.autograd.grad(out.sum(), s)[0].isfinite().all()


def by_enumeration(s: torch.Tensor, psi: torch.Tensor) -> float:
    """−log of the summed chance of all orders in which no label stands above a larger one."""
    total = 0.0
    for order in itertools.permutations(range(len(s))):
        if all(psi[a] >= psi[b] for a, b in itertools.pairwise(order)):
            each = [s[i] - torch.logsumexp(s[list(order[n:])], 0) for n, i in enumerate(order)]
            total += math.exp(sum(map(float, each)))
    return -math.log(total)


@pytest.mark.parametrize(
    "psi", [[0.0, 0.2, 0.4, 0.9], [1.0, 1.0, 0.0, 0.0], [1.0, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 1.0]]
)
def test_plackett_luce_sums_over_the_orders_of_ties(psi):
    s = torch.randn(4, dtype=torch.float64)
    got = float(plackett_luce(s[None], torch.tensor([psi], dtype=torch.float64)))
    assert got == pytest.approx(by_enumeration(s, torch.tensor(psi)), abs=1e-12)


def test_plackett_luces_orders_are_all_the_chance_there_is():
    """Over all strict orders of a list the probabilities add up to 1."""
    s = torch.randn(4, dtype=torch.float64)
    orders = torch.tensor(list(itertools.permutations(range(4))), dtype=torch.float64)
    total = (-plackett_luce(s.expand(24, 4), orders)).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-12)


def test_ties_and_absences_in_one_batch_with_lists_that_have_none():
    s, psi = lists(B=2)
    alone = plackett_luce(s[:1], psi[:1])
    psi[1] = torch.tensor([1.0, 1.0, 0.0, 0.5, 0.5])  # the first list now takes the other way
    torch.testing.assert_close(plackett_luce(s, psi)[:1], alone)


def test_softmax_is_least_where_its_shares_are_the_labels():
    q = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    s = q.log().requires_grad_()
    out = softmax_cross_entropy(s, 4 * q)
    assert torch.autograd.grad(out.sum(), s)[0].abs().max() < 1e-12
    assert float(out.detach()) == pytest.approx(float(-(q * q.log()).sum()))


def test_best_versus_worst_takes_a_mean_where_several_tie():
    s = torch.tensor([[0.3, -0.4, 1.2]], dtype=torch.float64)
    got = best_versus_worst(s, torch.tensor([[1.0, 1.0, 0.0]]).double())
    each = [pairwise.dpo(s[0, i], s[0, 2], beta=1.0) for i in (0, 1)]
    torch.testing.assert_close(got[0], (each[0] + each[1]) / 2)


def test_lambda_weighs_a_pair_by_what_exchanging_it_changes_of_dcg():
    s = torch.tensor([[0.1, 0.9, -0.5]], dtype=torch.float64)
    psi = torch.tensor([[1.0, 0.25, 0.0]], dtype=torch.float64)
    rank = torch.tensor([2, 1, 3])
    assert ranks(s).tolist() == [rank.tolist()]

    def dcg(order: torch.Tensor) -> float:
        return float(((2 ** psi[0] - 1) / torch.log1p(order.double())).sum())

    want = 0.0
    for i, j in itertools.permutations(range(3), 2):
        if psi[0, i] > psi[0, j]:
            other = rank.clone()
            other[i], other[j] = rank[j], rank[i]
            swap = abs(dcg(other) - dcg(rank))
            want += swap * float(pairwise.dpo(s[0, i], s[0, j], beta=1.0))
    assert float(lambda_loss(s, psi)) == pytest.approx(want, abs=1e-12)


def test_exchanged_weights_are_a_list_s_own_and_none_is_of_an_absent_completion():
    s, psi = lists(K=6)
    here = torch.arange(6).expand(16, 6) % 2 == 0
    w = lambda_weights(s, unit_labels(psi, here), present=here)
    got = exchanged(w, torch.rand(16, 6, dtype=torch.float64), here)
    both = here[:, :, None] & here[:, None, :]
    own, other = (x[both].view(16, -1).sort(-1).values for x in (w, got))
    torch.testing.assert_close(own, other)
    assert not torch.equal(got[both], w[both])
    # as if the absent ones had never been there
    kept, key = [0, 2, 4], torch.rand(16, 6, dtype=torch.float64)
    few = exchanged(w[:, kept][..., kept], key[:, kept])
    torch.testing.assert_close(exchanged(w, key, here)[:, kept][..., kept], few)


def test_lambda_learns_from_equal_scores_too():
    """The policy starts at the reference, where every score is 0."""
    s = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    psi = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64)
    grad = torch.autograd.grad(lambda_loss(s, psi).sum(), s)[0]
    assert grad[0, 2] < 0 < grad[0, 0]


def test_what_arithmetic_rounds_decides_no_rank():
    s = torch.tensor([[1e-17, 0.0, -1e-17], [0.0, 1e-17, 1e-16]], dtype=torch.float64)
    assert ranks(s).tolist() == [[1, 2, 3], [1, 2, 3]]
    assert ranks(torch.tensor([[0.0, 2e-4, 1e-3]])).tolist() == [[3, 2, 1]]


def test_unit_labels_know_nothing_of_scale_and_shift_and_win_rates_of_shift():
    r = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(unit_labels(5 * r - 2), unit_labels(r))
    torch.testing.assert_close(win_rates(r - 2), win_rates(r))
    assert not torch.allclose(win_rates(5 * r), win_rates(r))
    assert (unit_labels(r).amin(-1) == 0).all() and (unit_labels(r).amax(-1) == 1).all()
    torch.testing.assert_close(win_rates(r).mean(-1), torch.full((4,), 0.5, dtype=torch.float64))
    two = win_rates(torch.tensor([[1.0, 0.0]]).double())
    assert float(two[0, 0]) == pytest.approx(1 / (1 + math.exp(-1)))


def test_labels_of_absent_completions_are_0_and_count_for_nobody():
    r = torch.tensor([[3.0, torch.nan, 1.0, 2.0]], dtype=torch.float64)
    here = torch.tensor([[True, False, True, True]])
    assert unit_labels(r, here).tolist() == [[1.0, 0.0, 0.0, 0.5]]
    torch.testing.assert_close(
        win_rates(r, here)[:, [0, 2, 3]], win_rates(r[:, [0, 2, 3]]), rtol=0, atol=1e-12
    )
    assert win_rates(r, here)[0, 1] == 0 and (unit_labels(torch.ones(2, 3)) == 0).all()


def test_lists_are_weighed_where_two_completions_are_there():
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]).bool()[..., None]
    assert per_list(mask).tolist() == [0.5, 0.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: all_pairs(s, torch.full_like(s, torch.nan)), "28 of 28 labels are not finite"),
        (lambda s: lambda_loss(s, 3 * torch.ones_like(s)), "labels run from 3 to 3"),
        (lambda s: softmax_cross_entropy(s, -torch.ones_like(s)), "the smallest label is -1"),
        (lambda s: plackett_luce(s, torch.ones_like(s)), f"orders of at most {MOST}"),
    ],
)
def test_labels_that_mean_nothing_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(torch.zeros(2, MOST + 2))
