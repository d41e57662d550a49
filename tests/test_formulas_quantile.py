"""Quantiles: sorting never hurts, the pinball loss has the quantile at its bottom, and coverage is
kept in finite samples.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.formulas.quantile import (
    aggregated,
    conformal,
    crossing,
    interval_score,
    pinball,
    regression,
    uncrossed,
)

numbers = st.floats(-5, 5, allow_nan=False)


@given(told=st.lists(numbers, min_size=5, max_size=5), truth=numbers)
def test_sorting_never_worsens_the_interval_score(told: list[float], truth: float) -> None:
    levels, y = (
        torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64),
        torch.tensor(truth, dtype=torch.float64),
    )
    q = torch.tensor(told, dtype=torch.float64)
    assert (
        float(interval_score(uncrossed(q), y, levels))
        <= float(interval_score(q, y, levels)) + 1e-12
    )


def test_the_pinball_loss_is_least_at_the_quantile() -> None:
    y, levels = (
        torch.arange(1.0, 11.0, dtype=torch.float64),
        torch.tensor([0.25, 0.5], dtype=torch.float64),
    )
    grid = torch.arange(0.0, 11.5, 0.5, dtype=torch.float64)
    loss = pinball(grid[:, None, None].expand(-1, 10, 2), y.expand(len(grid), 10), levels).mean(1)
    # a quarter of ten numbers is 2.5, so the third is the quantile; the half lies anywhere between
    # the fifth and the sixth
    assert (
        float(grid[loss[:, 0].argmin()]) == 3.0 and 5.0 <= float(grid[loss[:, 1].argmin()]) <= 6.0
    )
    # by hand: y = 3, q = 1 is missed by 2: 0.25·2 and 0.5·2; y = 3, q = 5 by −2: 0.75·2 and 0.5·2
    one = pinball(torch.tensor([[1.0, 1.0], [5.0, 5.0]]), torch.tensor([3.0, 3.0]), levels.float())
    assert one.tolist() == [[0.5, 1.0], [1.5, 1.0]]
    assert interval_score(
        torch.tensor([[1.0, 5.0]]), torch.tensor([3.0]), levels.float()
    ).tolist() == [2 * (0.5 + 1.0) / 2]


def test_members_alike_give_that_member_and_weights_are_a_mean() -> None:
    one = torch.randn(3, 4).sort(-1).values
    assert torch.equal(aggregated(one.expand(5, 3, 4), torch.full((5,), 0.2)), one)
    two = torch.stack([torch.zeros(3, 2), torch.tensor([1.0, 2.0]).expand(3, 2)])
    assert torch.allclose(
        aggregated(two, torch.tensor([0.25, 0.75])), torch.tensor([0.75, 1.5]).expand(3, 2)
    )
    each = aggregated(two, torch.tensor([[1.0, 0.5], [0.0, 0.5]]))
    assert torch.allclose(each, torch.tensor([0.0, 1.0]).expand(3, 2))
    with pytest.raises(ValueError, match="at least 0 and sum to 1"):
        aggregated(two, torch.tensor([0.7, 0.7]))


def test_conformal_ranks_by_hand() -> None:
    x = torch.tensor([3.0, 1.0, 4.0, 2.0])
    # ⌈5·0.8⌉ = 4th smallest; ⌈5·0.5⌉ = 3rd; ⌈5·0.9⌉ = 5th, which is not there
    assert [float(conformal(x, level=v)) for v in (0.8, 0.5, 0.9)] == [4.0, 3.0, math.inf]
    with pytest.raises(ValueError, match="lies above 0 and below 1"):
        conformal(x, level=1.0)


@pytest.mark.parametrize("size", [9, 19, 30])
def test_coverage_is_kept_for_small_samples_of_a_skewed_law(size: int) -> None:
    draws = torch.randn(20000, size + 1).exp()
    limits = torch.stack([conformal(row, level=0.9) for row in draws[:4000, :size]])
    covered = (draws[:4000, size] <= limits).double().mean()
    # the law: (⌈(S+1)·0.9⌉)/(S+1) exactly for continuous scores; three standard errors of 4000
    # draws
    assert abs(float(covered) - math.ceil((size + 1) * 0.9) / (size + 1)) < 3 * math.sqrt(
        0.09 / 4000
    )


def skewed(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 2, dtype=torch.float64)
    inputs = torch.cat([torch.ones(n, 1, dtype=torch.float64), x], 1)
    return inputs, 1 + 2 * x[:, 0] + torch.randn(n, dtype=torch.float64) * (1 + 0.5 * x[:, 0].abs())


def test_regression_finds_quantiles_and_they_are_calibrated_where_it_was_fitted() -> None:
    x, y = skewed(500)
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    told = x @ regression(x, y, levels)
    assert torch.allclose(
        (y[:, None] <= told).double().mean(0), levels, atol=0.012
    )  # 3 of 500 rows lie on it


def test_regression_agrees_with_another_solver() -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="the peer is scikit-learn")
    x, y = skewed(300)
    levels = torch.tensor([0.2, 0.7], dtype=torch.float64)
    mine = pinball(x @ regression(x, y, levels), y, levels).mean(0)
    for i, level in enumerate(levels.tolist()):
        peer = linear.QuantileRegressor(quantile=level, alpha=0, solver="highs").fit(
            x[:, 1:].numpy(), y.numpy()
        )
        told = torch.tensor(peer.predict(x[:, 1:].numpy()))[:, None]
        theirs = pinball(told, y, levels[i : i + 1]).mean()
        assert float(theirs) <= float(mine[i]) + 1e-12 and float(mine[i]) == pytest.approx(
            float(theirs), rel=1e-4
        )


def test_weights_may_differ_from_row_to_row() -> None:
    two = torch.stack([torch.zeros(2, 1), torch.ones(2, 1)])
    rows = torch.tensor([[[0.25], [1.0]], [[0.75], [0.0]]])  # [M,S,Q]
    assert aggregated(two, rows).tolist() == [[0.75], [0.0]]
    with pytest.raises(ValueError, match="sum to 1"):
        aggregated(two, rows + 0.1)


def test_crossing_by_hand() -> None:
    told = torch.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])
    assert crossing(told).tolist() == [0.0, 2.0]
    assert crossing(told, margin=1.5).tolist() == [1.0, 4.0]
