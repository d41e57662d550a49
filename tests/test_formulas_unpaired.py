"""KTO: by hand, its symmetry, where its gradient is, its reference point, and whose completion is
whose.
"""

from __future__ import annotations

import math

import pytest
import torch

from assay.formulas.unpaired import kto, mismatched, reference_point


def ratios(n: int = 32):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, dtype=torch.float64, generator=g), torch.arange(n).remainder(2).double()


def test_by_hand():
    ratio = torch.tensor([2.0, 2.0], dtype=torch.float64)
    out = kto(ratio, torch.tensor([1.0, 0.0]), reference_point=0.5, beta=0.1)
    sigma = 1 / (1 + math.exp(-0.1 * 1.5))
    torch.testing.assert_close(out, torch.tensor([1 - sigma, sigma], dtype=torch.float64))


def test_a_good_completion_above_the_point_is_a_bad_one_below_it():
    ratio, good = ratios()
    torch.testing.assert_close(
        kto(ratio, good, reference_point=0.7, beta=0.4),
        kto(1.4 - ratio, 1 - good, reference_point=0.7, beta=0.4),
    )


def test_weights_are_of_their_side_alone_and_soft_labels_mix_the_sides():
    ratio, good = ratios()
    plain = kto(ratio, good, reference_point=0.2, beta=0.4)
    weighed = kto(
        ratio, good, reference_point=0.2, beta=0.4, desirable_weight=1.5, undesirable_weight=0.25
    )
    torch.testing.assert_close(weighed, plain * torch.where(good > 0, 1.5, 0.25))
    sides = [kto(ratio, torch.full_like(good, y), reference_point=0.2, beta=0.4) for y in (0, 1)]
    soft = kto(ratio, torch.full_like(good, 0.3), reference_point=0.2, beta=0.4)
    torch.testing.assert_close(soft, 0.7 * sides[0] + 0.3 * sides[1])


def test_it_is_bounded_and_learns_only_near_the_point():
    ratio = torch.tensor([-1e4, 0.2, 1e4], dtype=torch.float64, requires_grad=True)
    out = kto(ratio, torch.ones(3), reference_point=0.2, beta=0.1)
    grad = torch.autograd.grad(out.sum(), ratio)[0]
    torch.testing.assert_close(out, torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(grad, torch.tensor([0.0, -0.1 / 4, 0.0], dtype=torch.float64))


def test_gradients_are_those_of_finite_differences():
    ratio, good = ratios(6)
    assert torch.autograd.gradcheck(
        lambda x: kto(x, good, reference_point=0.3, beta=0.5, undesirable_weight=1.3),
        ratio.requires_grad_(),
    )


def test_no_gradient_flows_into_the_reference_point():
    ratio, good = ratios(6)
    z = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    x = ratio.requires_grad_()
    out = kto(x, good, reference_point=z, beta=0.5).sum()
    assert torch.autograd.grad(out, (x, z), allow_unused=True)[1] is None
    assert not reference_point(x).requires_grad


def test_the_reference_point_is_a_mean_that_is_never_negative_and_skips_what_is_absent():
    ratio = torch.tensor([1.0, 3.0, torch.nan])
    here = torch.tensor([True, True, False])
    assert float(reference_point(ratio, here)) == 2.0
    assert float(reference_point(-ratio, here)) == 0.0
    assert float(reference_point(ratio, torch.zeros(3, dtype=torch.bool))) == 0.0


@pytest.mark.parametrize(
    "prompt", [[0, 1, 2, 3], [5, 5, 2, 2], [3, 1, 3, 1, 3, 1], [0, 0, 1, 2, 0, 1]]
)
def test_every_row_takes_another_prompts_completion_and_each_is_taken_once(prompt):
    row = torch.tensor(prompt)
    taken, other = mismatched(row)
    assert sorted(taken.tolist()) == list(range(len(row)))
    assert other.all() and (row[taken] != row).all()


def test_a_shift_by_one_would_give_neighbours_of_one_prompt_their_own():
    row = torch.tensor([5, 5, 2, 2])
    assert (row.roll(1) == row).any() and mismatched(row)[1].all()


def test_where_one_prompt_has_most_rows_what_is_its_own_is_said():
    taken, other = mismatched(torch.tensor([1, 1, 1, 0]))
    assert sorted(taken.tolist()) == [0, 1, 2, 3] and int(other.sum()) == 2
    assert not mismatched(torch.tensor([4, 4]))[1].any()
    assert len(mismatched(torch.zeros(0, dtype=torch.int64))[0]) == 0
