"""Aggregation of a loss: two answers of lengths 2 and 20 by hand in every mode, splits, absence."""

from __future__ import annotations

import pytest
import torch

from assay.formulas import reduce

MODES = [
    reduce.per_completion,
    reduce.per_token,
    reduce.per_completion_token,
    lambda mask: reduce.constant_length(mask, length=25),
]


def lengths(*rows: tuple[int, ...], T: int) -> torch.Tensor:
    """A mask `[B,N,T]` of answers that begin at 0."""
    return torch.arange(T) < torch.tensor(rows)[..., None]


def test_lengths_2_and_20_by_hand():
    mask = lengths((2, 20), T=22)
    loss = torch.zeros(1, 2, 22, dtype=torch.float64)
    loss[0, 0], loss[0, 1] = 3.0, 1.0  # token losses: 3 in the short answer, 1 in the long
    value = [float((mode(mask) * loss).sum()) for mode in MODES]
    # sums are 6 and 20; tokens 22; means 3 and 1
    assert value == pytest.approx(
        [(6 + 20) / 2, (6 + 20) / 22, (3 + 1) / 2, (6 + 20) / (2 * 25)], abs=1e-14
    )


def test_weights_add_up_to_what_they_average():
    mask = lengths((2, 20, 0), (5, 1, 7), T=22)
    assert float(reduce.per_token(mask).sum()) == pytest.approx(1)
    assert float(reduce.per_completion_token(mask).sum()) == pytest.approx(1)
    assert float(reduce.per_completion_once(mask).sum()) == pytest.approx(1)
    assert float(reduce.per_completion(mask).sum()) == pytest.approx(
        35 / 5
    )  # mean length of the five present


@pytest.mark.parametrize("mode", [*MODES, reduce.per_completion_once, reduce.per_pair])
def test_absent_answers_and_padding_change_no_weight(mode):
    mask = lengths((2, 20), (5, 1), T=22)
    wide = mode(torch.nn.functional.pad(mask, (0, 9)))  # more padding
    assert torch.equal(wide[..., :22] if wide.dim() == 3 else wide, mode(mask))
    assert wide.dim() < 3 or (wide[..., 22:] == 0).all()
    if mode is not reduce.per_pair:  # there, a missing answer spoils its pair
        more = torch.cat([mask, torch.zeros(2, 3, 22, dtype=torch.bool)], 1)
        assert torch.equal(mode(more)[:, :2], mode(mask))
        assert (mode(more)[:, 2:] == 0).all()


@pytest.mark.parametrize("mode", [*MODES, reduce.per_completion_once, reduce.per_pair])
def test_nothing_present_gives_zeros_not_nan(mode):
    assert (mode(torch.zeros(2, 3, 4, dtype=torch.bool)) == 0).all()


def test_a_pair_needs_both_answers():
    mask = lengths((2, 3), (4, 0), (1, 1), T=4)
    assert reduce.per_pair(mask).tolist() == [0.5, 0, 0.5]


@pytest.mark.parametrize("mode", MODES)
def test_micro_batches_sum_to_the_whole_batch_but_their_own_means_do_not(mode):
    mask = lengths((2, 20), (5, 1), (3, 3), T=22)
    loss = torch.rand(3, 2, 22, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole, w = (mode(mask) * loss).sum(), mode(mask)
    parts = sum((w[i : i + 1] * loss[i : i + 1]).sum() for i in range(3))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-14)
    if (
        mode is reduce.per_token
    ):  # the trap: the mean of micro-batches' token means is another number
        wrong = torch.stack(
            [(mode(mask[i : i + 1]) * loss[i : i + 1]).sum() for i in range(3)]
        ).mean()
        assert abs(float(wrong - whole)) > 1e-3


@pytest.mark.parametrize("mode", [*MODES, reduce.per_completion_once])
def test_permuting_answers_permutes_weights(mode):
    mask, order = lengths((2, 20, 0, 4), (5, 1, 7, 0), T=22), torch.tensor([2, 0, 3, 1])
    assert torch.equal(mode(mask[:, order]), mode(mask)[:, order])


def test_a_constant_length_below_one_is_refused():
    with pytest.raises(ValueError, match="length is 0"):
        reduce.constant_length(torch.ones(1, 1, 1, dtype=torch.bool), length=0)
