"""Dividing completions: brute force agrees, and a value is what sampling says it is."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from assay.formulas.budget import allocate, enough, group_value, marginal_value


def best(p: Tensor, total: int, low: int, high: int) -> float:
    """The greatest value over all divisions, tried one by one."""
    return max(
        float(group_value(torch.tensor(n), p).sum())
        for n in product(range(low, high + 1), repeat=len(p))
        if sum(n) == total
    )


def test_the_division_is_that_of_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    for trial in range(60):
        M = 2 + trial % 3
        p = torch.rand(M, dtype=torch.float64, generator=generator)
        p[torch.rand(M, generator=generator) < 0.2] = float(trial % 2)
        low, high = 1 + trial % 2, 7
        total = M * low + int(torch.randint(M * (high - low) + 1, (1,), generator=generator))
        n = allocate(p, total=total, low=low, high=high)
        assert int(n.sum()) == total and low <= int(n.min()) and int(n.max()) <= high
        assert float(group_value(n, p).sum()) == pytest.approx(best(p, total, low, high), abs=1e-12)


def test_a_gain_is_the_difference_of_values_and_never_rises() -> None:
    n, p = torch.arange(1, 60)[:, None], torch.linspace(0, 1, 21, dtype=torch.float64)
    gain = marginal_value(n, p)
    torch.testing.assert_close(gain, group_value(n + 1, p) - group_value(n, p), atol=1e-14, rtol=0)
    assert (gain[1:] <= gain[:-1]).all() and (gain >= 0).all()


def test_a_value_is_the_chance_of_both_answers_times_the_gain() -> None:
    for n, p in ((3, 0.3), (5, 0.9)):
        chance = sum(
            p ** sum(a) * (1 - p) ** (n - sum(a))
            for a in product((0, 1), repeat=n)
            if 0 < sum(a) < n
        )
        value = float(group_value(torch.tensor(n), torch.tensor(p, dtype=torch.float64)))
        assert value == pytest.approx(chance * p * (1 - p) ** 2)
    rates = torch.linspace(0, 1, 1001, dtype=torch.float64)
    peak = rates[group_value(torch.full_like(rates, 500), rates).argmax()]
    assert float(peak) == pytest.approx(1 / 3, abs=2e-3)


def test_what_is_left_goes_to_prompts_that_were_never_solved_first() -> None:
    p = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    assert allocate(p, total=14, low=2, high=4).tolist() == [4, 3, 4, 3]
    assert allocate(p, total=11, low=2, high=4).tolist() == [4, 2, 3, 2]
    assert allocate(torch.tensor([0.5, 0.0]), total=10, low=2, high=6).tolist() == [6, 4]


def test_enough_is_enough() -> None:
    p = torch.tensor([0.5, 0.9, 0.1, 0.0], dtype=torch.float64)
    n = enough(p, alpha=0.9)
    torch.testing.assert_close(torch.maximum(p, 1 - p)[:3] ** n[:3], torch.full((3,), 0.1).double())
    assert n[3] == float("inf")


def test_budgets_and_rates_that_are_none_are_refused() -> None:
    for total in (3, 13):
        with pytest.raises(ValueError, match="cannot be divided"):
            allocate(torch.tensor([0.5, 0.5]), total=total, low=2, high=6)
    with pytest.raises(ValueError, match="pass rate"):
        allocate(torch.tensor([0.5, float("nan")]), total=8, low=2, high=6)
