"""Rewards of routing: the window of costs by hand, and which stage pays what."""

from __future__ import annotations

import pytest
import torch

from assay.formulas.routing import cheapness, routing_reward

NONE = torch.zeros(0, dtype=torch.float64)


def costs(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_first_cost_and_equal_costs_say_nothing() -> None:
    assert cheapness(costs(4.0, 4.0, 4.0), NONE)[0].tolist() == [0.5] * 3


def test_a_cost_is_placed_by_its_root_among_those_so_far() -> None:
    found, window = cheapness(costs(0.0, 16.0, 1.0, 4.0), NONE, low=0.0, high=1.0)
    # roots 0, 4, 1, 2: alone, then dearest, then a quarter and a half of the way to 4
    assert found.tolist() == pytest.approx([0.5, 0.0, 0.75, 0.5])
    assert window.tolist() == [0.0, 4.0, 1.0, 2.0]


def test_quantiles_cut_off_what_is_far_out() -> None:
    window = torch.arange(99, dtype=torch.float64)
    found, _ = cheapness(costs(1e6**2, 0.0), window)
    assert found.tolist() == [0.0, 1.0]
    middle, _ = cheapness(costs(49.0**2), window[window != 49.0])
    assert float(middle[0]) == pytest.approx(0.5)


def test_one_batch_is_two_batches_and_old_costs_are_forgotten() -> None:
    values = costs(9.0, 1.0, 4.0, 0.0, 25.0, 16.0)
    whole, end = cheapness(values, NONE, size=3)
    first, kept = cheapness(values[:2], NONE, size=3)
    second, last = cheapness(values[2:], kept, size=3)
    assert torch.equal(torch.cat([first, second]), whole) and torch.equal(end, last)
    assert end.tolist() == [0.0, 5.0, 4.0]
    long, _ = cheapness(values, NONE, size=6)
    assert not torch.equal(long, whole)


def test_what_is_out_of_range_is_said() -> None:
    for bad in (costs(-1.0), costs(float("nan"))):
        with pytest.raises(ValueError, match="a cost is below 0 or NaN"):
            cheapness(bad, NONE)
    with pytest.raises(ValueError, match="size is 0"):
        cheapness(costs(1.0), NONE, size=0)
    with pytest.raises(ValueError, match="alpha is 2"):
        routing_reward(costs(1.0), costs(1.0) > 0, costs(1.0), alpha=2.0)


def test_the_form_comes_first_then_the_answer_then_the_cost() -> None:
    score, formed = costs(1.0, 1.0, 0.0, 0.0, 0.5), torch.tensor([True, False, True, False, True])
    cheap = costs(0.2, 1.0, 1.0, 1.0, 1.0)
    found = routing_reward(score, formed, cheap, alpha=0.25)
    assert found.tolist() == pytest.approx([0.8, -1.0, 0.0, -1.0, 0.625])
    plain = routing_reward(score, formed, cheap, alpha=0.0, punishment=0.0)
    assert plain.tolist() == [1.0, 0.0, 0.0, 0.0, 0.5]
