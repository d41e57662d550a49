"""The softmax gradient by enumeration, the growth of its noise, and a study that can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.core import InputError
from assay.formulas.gradient_bandit import (
    exact_gradient,
    growth_constant,
    sampled_gradient,
    second_moment,
)
from assay.recipes.gradient_bandit import gap, paper, slope, study
from assay.worlds.study import world

ROOT = Path(__file__).parents[1]
MEAN = torch.tensor([0.2, 0.35, 0.5, 0.8], dtype=torch.float64)


def thetas(n: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 4 * torch.randn(n, 4, dtype=torch.float64, generator=generator)


def each_pull(theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients `[R,8,K]` of every (arm, reward 0 or 1), and their chances `[R,8]`."""
    p = theta.softmax(-1)
    found, chance = [], []
    for arm in range(4):
        for reward in (0.0, 1.0):
            a = torch.full((len(theta),), arm)
            found.append(sampled_gradient(theta, a, torch.full((len(theta),), reward).double()))
            chance.append(p[:, arm] * (MEAN[arm] if reward else 1 - MEAN[arm]))
    return torch.stack(found, 1), torch.stack(chance, 1)


def test_the_sampled_gradient_is_unbiased_and_the_exact_one_is_autograd_s() -> None:
    theta = thetas()
    g, chance = each_pull(theta)
    exact = exact_gradient(theta, MEAN)
    torch.testing.assert_close((chance[..., None] * g).sum(1), exact)
    t = theta.clone().requires_grad_()
    (t.softmax(-1) @ MEAN).sum().backward()
    torch.testing.assert_close(exact, t.grad)


def test_the_second_moment_is_the_enumerated_one_and_grows_no_faster_than_the_gradient() -> None:
    theta = thetas()
    g, chance = each_pull(theta)
    moment = second_moment(theta, MEAN)
    torch.testing.assert_close((chance * g.square().sum(-1)).sum(1), moment)
    size = exact_gradient(theta, MEAN).norm(dim=-1)
    assert (moment <= growth_constant(MEAN) * size).all()
    sure = torch.tensor([[0.0, 0.0, 0.0, 40.0], [40.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert (second_moment(sure, MEAN) < 1e-12).all(), "no noise where the policy is certain"


def test_a_slope_is_that_of_a_power() -> None:
    at = [100, 200, 400, 800]
    assert slope(at, [7 / t for t in at]) == pytest.approx(-1)
    assert slope(at, [7 / t**0.5 for t in at]) == pytest.approx(-0.5)


def test_a_gap_is_exact_near_the_best_arm() -> None:
    theta = torch.tensor([[0.0, 0.0, 0.0, 60.0]], dtype=torch.float64)
    weights = (MEAN[3] - MEAN[:3]).sum()
    assert float(gap(theta, MEAN)) == pytest.approx(float(weights) * 8.756510762696521e-27)


def line(**constants: Any) -> dict[str, Any]:
    return next(iter(study(world(seed=3), **{"steps": 1000, "runs": 16, **constants})))


def test_it_learns_with_its_own_noise_and_not_with_noise_that_stays() -> None:
    own = line(rate=0.2, steps=4000)
    noisy = line(rate=0.2, steps=4000, noise="constant")
    assert own["gap"][-1] < 0.3 * own["gap"][0]
    assert own["gap"][-1] < 0.6 * noisy["gap"][-1], "noise that stays keeps it away"
    assert line(rate=20.0)["wrong"] > own["wrong"], "too large a step ends on wrong arms"


def test_a_run_is_a_function_of_its_seed() -> None:
    assert line(steps=64) == line(steps=64)


def test_bad_input_is_named() -> None:
    for constants, word in (
        ({"noise": "none"}, "--noise"),
        ({"means": (0.5, 0.5)}, "--means"),
        ({"rate": 0.0}, "--rate"),
        ({"steps": 8}, "--steps"),
    ):
        with pytest.raises(InputError, match=word):
            line(**constants)
    with pytest.raises(ValueError, match="same mean"):
        growth_constant(torch.tensor([0.5, 0.5]))


def test_the_recipe_and_its_result_name_the_paper_whose_law_runs() -> None:
    """arXiv:2402.17235 proves the growth of the noise and the rate 1/t; that is its title."""
    result = json.loads((ROOT / "claims" / "gradient_bandit.study.json").read_text("utf-8"))
    assert paper.title == result["title"] == "Stochastic Gradient Succeeds for Bandits"
