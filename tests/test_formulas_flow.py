"""Flows and diffusions: what velocities say, and that stochastic steps keep the marginals."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from assay.core import Rng
from assay.formulas.diffusion import cosine_alpha_bars, ddim_std, ddim_step
from assay.formulas.flow import (
    denoised,
    effective_places,
    flow_noise,
    flow_score,
    flow_step,
    flow_times,
    gaussian_kl,
    gaussian_logp,
    guarded_log_ratio,
    interpolated,
    mixture_velocity,
)

MEAN, STD = 1.5, 0.5


def one(x: Tensor, t: Tensor) -> Tensor:
    """The velocity of one Gaussian."""
    weights = torch.zeros(len(x), 1, dtype=x.dtype)
    return mixture_velocity(x, t, weights, torch.full((1, 1), MEAN, dtype=x.dtype), std=STD)


def normal(*shape: int, at: int = 0) -> Tensor:
    places = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    return Rng(at)("normal").normal(*places, dtype=torch.float64)


def test_a_velocity_is_the_mean_of_noise_minus_data() -> None:
    """Against the regression of ε − x₀ on x_t, by bins."""
    n = 100_000
    which = (Rng(1)("k").uniform(torch.arange(n)) < 0.3).long()
    centres = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
    data = centres[1 - which] + 0.4 * normal(n, 1, at=2)
    noise, t = normal(n, 1, at=3), torch.full((n,), 0.4, dtype=torch.float64)
    x = interpolated(data, noise, t)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64).log().expand(n, 2)
    v = mixture_velocity(x, t, weights, centres, std=0.4)
    for low in torch.arange(-2.0, 2.0, 0.5):
        here = (x[:, 0] >= low) & (x[:, 0] < low + 0.5)
        error = (noise - data - v)[here]
        assert abs(float(error.mean())) < 4 * float(error.std() / len(error) ** 0.5)


def test_data_noise_and_score_of_one_gaussian_are_known() -> None:
    x, t = normal(50, 1), torch.linspace(0.05, 0.95, 50, dtype=torch.float64)
    v, keep = one(x, t), 1 - t
    variance = (keep * STD).square() + t.square()
    assert torch.allclose(flow_score(x, v, t)[:, 0], -(x[:, 0] - keep * MEAN) / variance)
    mean = MEAN + keep * STD**2 / variance * (x[:, 0] - keep * MEAN)
    assert torch.allclose(denoised(x, v, t)[:, 0], mean)


@pytest.mark.parametrize(("level", "shift"), [(0.3, 1.0), (0.7, 1.0), (1.2, 3.0)])
def test_stochastic_steps_keep_the_flow_s_marginals(level: float, shift: float) -> None:
    """Mean and variance follow exactly from step to step, since all is linear."""
    times = flow_times(steps=400, shift=shift)
    sigma = flow_noise(times, level=level)
    mean, variance = torch.zeros(1, 1, dtype=torch.float64), 1.0
    for k in range(400):
        t, dt, s = times[k : k + 1], times[k + 1 : k + 2] - times[k : k + 1], sigma[k : k + 1]

        def step(x: Tensor, t: Tensor = t, dt: Tensor = dt, s: Tensor = s) -> Tensor:
            return flow_step(x, one(x, t), t, dt, s)

        slope = float((step(mean + 1) - step(mean)).item())
        mean, variance = step(mean), slope**2 * variance + float(s**2 * -dt)
    assert float(mean) == pytest.approx(MEAN, abs=0.02)
    assert math.sqrt(variance) == pytest.approx(STD, abs=0.02)


def test_without_noise_a_step_is_euler_s() -> None:
    x, t = normal(20, 3), torch.linspace(0.1, 0.9, 20, dtype=torch.float64)
    v, dt = normal(20, 3, at=1), torch.full((20,), -0.05, dtype=torch.float64)
    assert torch.equal(flow_step(x, v, t, dt, torch.zeros_like(t)), x + v * dt[:, None])


def test_times_fall_from_one_to_zero_and_a_shift_stays_near_the_noise() -> None:
    plain, shifted = flow_times(steps=10), flow_times(steps=10, shift=3.0)
    for times in (plain, shifted):
        assert times[0] == 1 and times[-1] == 0 and bool((times.diff() < 0).all())
    assert bool((shifted[1:-1] > plain[1:-1]).all())
    assert bool(torch.isfinite(flow_noise(plain, level=0.7)).all())


def test_ddim_with_eta_one_is_the_posterior_of_the_forward_process() -> None:
    """The product of the two Gaussians q(x_s | x₀) and q(x_t | x_s), by hand."""
    bars = cosine_alpha_bars(steps=8)
    assert bool((bars.diff() > 0).all())
    data, x = normal(5, 2), normal(5, 2, at=1)
    for before, after in itertools.pairwise(bars):
        noise = (x - before.sqrt() * data) / (1 - before).sqrt()
        std = ddim_std(before, after)
        found = ddim_step(data, noise, after.expand(5), std.expand(5))
        a = before / after
        precision = 1 / (1 - after) + a / (1 - a)
        mean = (after.sqrt() * data / (1 - after) + a.sqrt() * x / (1 - a)) / precision
        assert torch.allclose(found, mean) and float(std) == pytest.approx(float(precision.rsqrt()))


def test_a_step_s_density_is_a_density_and_its_mean_is_not() -> None:
    grid = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    mean = torch.tensor([0.3, -0.7], dtype=torch.float64).expand_as(points)
    std = torch.full((len(points),), 0.8, dtype=torch.float64)
    cell = float(grid[1] - grid[0]) ** 2
    total = gaussian_logp(points, mean, std).exp().sum() * cell
    assert float(total) == pytest.approx(1, abs=1e-6)
    halved = gaussian_logp(points, mean, std, reduction="mean")
    assert torch.allclose(2 * halved, gaussian_logp(points, mean, std))
    with pytest.raises(ValueError, match="it is sum or mean"):
        gaussian_logp(points, mean, std, reduction="none")


def test_the_kl_of_steps_is_the_mean_log_ratio() -> None:
    n = 200_000
    mean, other = (torch.tensor(m, dtype=torch.float64).expand(n, 2) for m in ([0, 1], [0.5, 0.2]))
    std = torch.full((n,), 0.7, dtype=torch.float64)
    y = mean + 0.7 * normal(n, 2)
    ratio = gaussian_logp(y, mean, std) - gaussian_logp(y, other, std)
    assert float(gaussian_kl(mean, other, std)[0]) == pytest.approx(float(ratio.mean()), abs=0.01)


@pytest.mark.parametrize("s", [0.05, 0.5])
def test_guarded_ratios_have_mean_zero_and_one_spread_at_every_noise(s: float) -> None:
    """And plain ratios averaged over coordinates do not: E ρ = exp(−k/D + k/D²), k = ‖Δμ‖²/2s²."""
    n, D = 200_000, 8
    old, std = torch.zeros(n, D, dtype=torch.float64), torch.full((n,), s, dtype=torch.float64)
    new = torch.full_like(old, 0.05)
    y = s * normal(n, D)
    found = guarded_log_ratio(new, old, y, std)
    spread = 0.05 * D**0.5 / D
    assert float(found.mean()) == pytest.approx(0, abs=5 * spread / n**0.5)
    assert float(found.std()) == pytest.approx(spread, rel=0.01)
    plain = gaussian_logp(y, new, std, reduction="mean") - gaussian_logp(
        y, old, std, reduction="mean"
    )
    k = 0.05**2 * D / (2 * s**2)
    assert float(plain.exp().mean()) == pytest.approx(math.exp(-k / D + k / D**2), rel=0.01)
    assert torch.allclose(s * (plain + k / D), found), "centred, and scaled by s"
    summed = guarded_log_ratio(new, old, y, std, reduction="sum")
    assert torch.allclose(summed, D * found)


def test_places_count_from_a_share_on() -> None:
    place = torch.tensor([0] * 90 + [1] * 9 + [2] + [-1] * 100)
    assert effective_places(place, count=4, least=0.01) == 2
    assert effective_places(place, count=4, least=0.005) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: flow_times(steps=0),
        lambda: flow_noise(flow_times(steps=1), level=0.7),
        lambda: cosine_alpha_bars(steps=0),
        lambda: ddim_std(torch.tensor([0.1]), torch.tensor([0.2]), eta=2.0),
    ],
)
def test_constants_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=" is "):
        wrong()
