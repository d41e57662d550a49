"""Beta normalisation: what the density is, of what it is the minimum, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_contract import SMALL, drive, small_world
from torch.distributions import Beta

from assay.errors import InputError
from assay.formulas.advantage import group_centred, group_standardised
from assay.formulas.beta_normalised import beta_normalised, density_of_least_variance, pass_rates
from assay.recipes import bnpo, grpo

F = torch.float64
R = (torch.rand(9, 16, generator=torch.Generator().manual_seed(0)) < 0.4).to(F)
HERE = torch.ones(9, 16, dtype=torch.bool)


def test_flat_is_the_baseline_and_three_halves_is_grpo() -> None:
    flat = beta_normalised(R, HERE, alpha=1, beta=1)
    torch.testing.assert_close(flat, group_centred(R, HERE))
    root = beta_normalised(R, HERE, alpha=1.5, beta=1.5)
    grpo_s = group_standardised(R, HERE, eps=0.0, ddof=0)
    torch.testing.assert_close(root, torch.pi / 8 * grpo_s)


def test_the_density_is_torch_s() -> None:
    p = R.mean(-1, keepdim=True)
    expected = (R - p) / Beta(torch.tensor(2.3, dtype=F), torch.tensor(1.2, dtype=F)).log_prob(
        p
    ).exp()
    torch.testing.assert_close(beta_normalised(R, HERE, alpha=2.3, beta=1.2), expected)


def second_moment(alpha: float, beta: float, a: float, b: float) -> float:
    """E[A²] = ∫ p(1 − p)/f(p; α, β)² dBeta(a, b) for rewards of 0 and 1, on a grid."""
    p = (torch.arange(20000, dtype=F) + 0.5) / 20000
    law, f = (
        Beta(torch.tensor(x, dtype=F), torch.tensor(y, dtype=F)).log_prob(p).exp()
        for x, y in ((a, b), (alpha, beta))
    )
    return float((p * (1 - p) / f.square() * law).mean())


@pytest.mark.parametrize(("a", "b"), [(2.0, 3.0), (0.9, 4.0), (6.0, 1.5)])
def test_a_third_makes_the_second_moment_least(a: float, b: float) -> None:
    alpha, beta = 1 + a / 3, 1 + b / 3
    best = second_moment(alpha, beta, a, b)
    for da, db in ((0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1), (0.1, 0.1), (-0.1, -0.1)):
        assert second_moment(alpha + da, beta + db, a, b) > best


def test_moments_of_many_rates_give_the_law_back() -> None:
    p = (torch.arange(4000, dtype=F) + 0.5) / 4000
    from scipy.stats import beta as law

    rates = torch.from_numpy(law.ppf(p.numpy(), 2.0, 3.0))
    found = density_of_least_variance(rates)
    assert found == pytest.approx((1 + 2 / 3, 2.0), abs=2e-3)


def test_degenerate_batches_have_finite_advantages() -> None:
    for rates in ([0.5], [0.3, 0.3], [0.0, 0.0], [1.0, 1.0], [float("nan"), 0.2]):
        assert density_of_least_variance(torch.tensor(rates)) == (1.0, 1.0)
    assert density_of_least_variance(torch.tensor([0.0, 1.0])) == (1.0, 1.0), "c is below 0 there"
    r = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]], dtype=F)
    here = torch.tensor([[True, True], [True, True], [False, False]])
    a = beta_normalised(r, here, alpha=3.0, beta=2.0)
    assert a[0].tolist() == a[2].tolist() == [0, 0] and bool(torch.isfinite(a).all())
    assert a[1, 1] == -a[1, 0] > 0
    with pytest.raises(ValueError, match="1 rewards are outside 0 to 1, such as 2"):
        pass_rates(torch.tensor([[0.5, 2.0]]), torch.ones(1, 2, dtype=torch.bool))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"alpha": 0.5}, "--alpha is 0.5"),
        ({"least": 1.0}, "--least is 1.0 and --most is 1.0"),
        ({}, "outside --least 0.0 and --most 1.0"),
    ],
)
def test_what_it_cannot_normalise_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):  # a world whose rewards have no bounds
        drive(bnpo, small_world(grpo), given, loop=SMALL)


def test_a_run_says_its_densities() -> None:
    read = drive(bnpo, small_world(grpo), {"least": -50, "most": 50, "members": 2}, loop=SMALL)
    stats = read[1]["stats"]
    assert stats["bnpo/alpha_0"] >= 1 and stats["bnpo/beta_1"] >= 1 and read[-2]["kl"] > 0
