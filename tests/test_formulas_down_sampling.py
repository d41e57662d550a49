"""The choice of greatest variance is that of brute force; shares are shares."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from assay.formulas.down_sampling import largest, schedule, widest


def test_the_widest_choice_is_that_of_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    for trial in range(80):
        n = 2 + trial % 8
        values = torch.randn(n, dtype=torch.float64, generator=generator).round(decimals=trial % 3)
        for keep in range(1, n + 1):
            chosen = widest(values, keep=keep)
            assert int(chosen.sum()) == keep
            most = max(
                float(values[list(c)].var(correction=0)) for c in combinations(range(n), keep)
            )
            assert float(values[chosen].var(correction=0)) == pytest.approx(most, abs=1e-12)


def test_a_constant_far_from_0_costs_no_digits() -> None:
    values = torch.tensor([0.0, 1e-3, 2e-3, 9e-3], dtype=torch.float64)
    assert widest(values + 1e6, keep=2).tolist() == widest(values, keep=2).tolist()
    assert widest(values, keep=2).tolist() == [True, False, False, True]
    assert not widest(values, keep=0).any() and widest(values, keep=4).all()


def test_the_largest_share_of_what_is_there() -> None:
    score = torch.tensor([[3.0, 9.0, 1.0], [2.0, 8.0, 7.0]])
    among = torch.tensor([[True, False, True], [True, True, True]])
    assert largest(score, among, share=0.4).tolist() == [[False] * 3, [False, True, True]]
    assert torch.equal(largest(score, among, share=1.0), among)
    assert not largest(score, among, share=0.0).any()
    assert int(largest(score, among, share=0.01).sum()) == 1
    assert not largest(score, torch.zeros_like(among), share=0.5).any()


def test_a_schedule_is_linear_and_held() -> None:
    assert [schedule(start=0.2, end=1.0, progress=p) for p in (0, 0.5, 1, 2)] == pytest.approx(
        [0.2, 0.6, 1, 1]
    )


def test_what_cannot_be_chosen_is_refused() -> None:
    with pytest.raises(ValueError, match="keep"):
        widest(torch.ones(3), keep=4)
    with pytest.raises(ValueError, match="finite"):
        widest(torch.tensor([1.0, float("nan")]), keep=1)
    with pytest.raises(ValueError, match="share"):
        largest(torch.ones(2), torch.ones(2, dtype=torch.bool), share=1.5)
