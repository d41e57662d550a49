"""Scores of risk are the derivatives of the risks; quantiles rest where they should."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from assay.formulas.risk import mixed_score, quantile_step, range_score, tail_score

VALUES = torch.tensor([0.0, 1.0, 2.0, 3.5, 5.0], dtype=torch.float64)
LOGITS = torch.tensor([0.3, -0.2, 0.1, 0.0, -0.5], dtype=torch.float64)


def between(p: Tensor, low: float, high: float) -> Tensor:
    """(1/(b − a))·∫_a^b F⁻¹(u) du of VALUES with chances p, exactly."""
    edge = torch.cat([p.new_zeros(1), p.cumsum(0)]).clamp(low, high)
    return (edge.diff() * VALUES).sum() / (high - low)


def quantile(level: float) -> float:
    at = int((LOGITS.softmax(0).cumsum(0) < level).sum())
    return float(VALUES[at])


def slope(risk: tuple[float, float]) -> Tensor:
    theta = LOGITS.clone().requires_grad_()
    between(theta.softmax(0), *risk).backward()
    return theta.grad  # type: ignore[return-value]


def by_score(score: Tensor) -> Tensor:
    """E[h(R)·∂log π/∂θ], enumerated."""
    p = LOGITS.softmax(0)
    return p * (score - p @ score)


@pytest.mark.parametrize("level", [0.1, 0.3, 0.55, 0.9])
def test_the_tail_s_score_is_the_gradient_of_its_mean(level: float) -> None:
    score = tail_score(VALUES, quantile=quantile(level), level=level)
    torch.testing.assert_close(by_score(score), slope((0.0, level)))


@pytest.mark.parametrize("levels", [(0.1, 0.5), (0.2, 0.8), (0.3, 1.0)])
@pytest.mark.parametrize("natural", [True, False])
def test_the_range_s_score_is_the_gradient_of_its_mean(
    levels: tuple[float, float], natural: bool
) -> None:
    quantiles = quantile(levels[0]), quantile(levels[1])
    score = range_score(VALUES, quantiles=quantiles, levels=levels, natural=natural)
    torch.testing.assert_close(by_score(score), slope(levels))


def test_the_mixed_score_mixes_them_and_is_never_above_0_with_the_natural_baseline() -> None:
    quantiles, levels = (quantile(0.2), quantile(0.8)), (0.2, 0.8)
    score = mixed_score(VALUES, quantiles=quantiles, levels=levels, omega=1.5)
    wanted = (1.5 * slope((0.0, 0.2)) + slope(levels)) / 2.5
    torch.testing.assert_close(by_score(score), wanted)
    assert (score <= 0).all() and score[-1] == 0
    mean = mixed_score(VALUES, quantiles=(-1.0, 9.0), levels=(1e-9, 1.0), omega=0.0)
    torch.testing.assert_close(by_score(mean), by_score(VALUES), atol=1e-7, rtol=0)


def test_a_quantile_rests_at_its_level_and_moves_towards_it() -> None:
    rewards = torch.arange(10.0)
    assert quantile_step(rewards, quantile=1.5, level=0.2) == pytest.approx(1.5)
    assert quantile_step(rewards, quantile=0.5, level=0.2) > 0.5
    assert quantile_step(rewards, quantile=8.0, level=0.2) < 8.0
    assert quantile_step(rewards[:0], quantile=8.0, level=0.2) == 8.0
    generator, q = torch.Generator().manual_seed(0), 0.0
    for _ in range(3000):
        q = quantile_step(torch.randn(8, generator=generator), quantile=q, level=0.2, rate=0.02)
    assert q == pytest.approx(-0.8416, abs=0.1)


def test_levels_that_are_none_are_refused() -> None:
    for levels in ((0.0, 0.5), (0.5, 0.5), (0.2, 1.1)):
        with pytest.raises(ValueError, match="levels"):
            mixed_score(VALUES, quantiles=(0.0, 1.0), levels=levels)
