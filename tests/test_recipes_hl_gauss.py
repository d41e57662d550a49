"""HL-Gauss: what a histogram of a number is, what the cross-entropy leads to, and the critic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_contract import SMALL, drive, small_world
from torch import Tensor

from assay.core import Carry, Loop
from assay.errors import InputError
from assay.formulas.histogram import (
    centres,
    cross_entropy,
    gaussian_histogram,
    histogram_mean,
    two_hot,
)
from assay.loops.critic import Critic, explained_variance
from assay.loops.value_forms import Binned
from assay.recipes import hl_gauss
from assay.worlds.table import world

F = torch.float64
EDGES = torch.linspace(-10, 10, 52, dtype=F)
WIDTH = 20 / 51


def spread_of(p: Tensor, y: Tensor) -> Tensor:
    return (p * (centres(EDGES) - y[..., None]).square()).sum(-1).sqrt()


def test_a_histogram_has_the_gaussians_mean_and_deviation() -> None:
    y = torch.linspace(-8, 8, 401, dtype=F)
    p = gaussian_histogram(y, EDGES)
    torch.testing.assert_close(p.sum(-1), torch.ones_like(y))
    assert float(((p * centres(EDGES)).sum(-1) - y).abs().max()) < 1e-5
    # binning adds the variance of a uniform within a bin, Sheppard's correction
    expected = torch.full_like(y, WIDTH * (0.75**2 + 1 / 12) ** 0.5)
    torch.testing.assert_close(spread_of(p, y), expected, rtol=1e-3, atol=0)


def test_at_the_ends_the_mean_is_drawn_inwards_and_beyond_them_nothing_is_lost() -> None:
    y = torch.tensor([10.0, 12.0, 1e6, -1e6], dtype=F)
    p = gaussian_histogram(y, EDGES)
    mean = (p * centres(EDGES)).sum(-1)
    # half of a Gaussian: its mean is √(2/π)·σ from the end, to a share of a bin
    assert mean[:3].tolist() == pytest.approx([10 - 0.7979 * 0.75 * WIDTH] * 3, abs=0.05)
    assert float(mean[3]) == pytest.approx(-float(mean[0]))
    assert torch.isfinite(p).all() and torch.allclose(p.sum(-1), torch.ones(4, dtype=F))
    single = gaussian_histogram(y.float(), EDGES.float())
    torch.testing.assert_close(single, p.float(), rtol=1e-3, atol=1e-5)


def test_two_hot_has_exactly_the_mean_and_a_narrow_gaussian_the_bin_alone() -> None:
    y = torch.linspace(-9.7, 9.7, 173, dtype=F)
    p = two_hot(y, EDGES)
    torch.testing.assert_close((p * centres(EDGES)).sum(-1), y)
    assert int((p > 1e-12).sum(-1).max()) == 2
    assert two_hot(torch.tensor([50.0], dtype=F), EDGES)[0, -1] == 1
    inside = centres(EDGES)[7] + 0.3 * WIDTH
    narrow = gaussian_histogram(inside[None], EDGES, spread=0.01)
    assert float(narrow[0, 7]) == pytest.approx(1)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="spread is"):
            gaussian_histogram(y, EDGES, spread=wrong)
    with pytest.raises(ValueError, match="there are 1 edges"):
        two_hot(y, EDGES[:1])


def test_cross_entropy_is_least_at_the_mean_of_noisy_targets_and_its_slope_is_bounded() -> None:
    """Of outcomes 0 and 1 of the same beginning, the value is the share of ones."""
    y = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=F)
    p = gaussian_histogram(y, EDGES)
    best = p.mean(0).log()
    assert float(histogram_mean(best, EDGES)) == pytest.approx(0.6, abs=1e-5)
    logits = best.clone().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(logits.expand(5, -1), p).sum(), logits)
    assert float(g.abs().max()) < 1e-12
    far = torch.zeros(51, dtype=F).requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(far, gaussian_histogram(y[0] + 9, EDGES)), far)
    torch.testing.assert_close(g, far.softmax(-1) - gaussian_histogram(y[0] + 9, EDGES))
    assert float(g.abs().max()) < 1


def test_explained_variance_is_one_for_the_returns_and_unknown_where_they_are_equal() -> None:
    g = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]], dtype=F)
    right = explained_variance(g, g)
    assert float(right[0]) == 1 and bool(right[1].isnan())
    assert float(explained_variance(g, 0 * g + 5)[0]) == 0, "a constant explains nothing"
    assert float(explained_variance(g, -g)[0]) == 1 - 4
    assert bool(explained_variance(g[:0], g[:0]).isnan().all())


@pytest.mark.parametrize("fit", ["gaussian", "two_hot", "squared"])
def test_a_critic_of_bins_comes_to_its_returns(fit: str) -> None:
    bag = world(pairs=40, members=2, demos=5)
    loop = Loop(batch_size=8, num_generations=8, epochs=2, learning_rate=0.05)
    task = bag.task.replaced(carry=Carry())
    x = task.reference.sample(task.batch(loop, 0), 8, task.rng("sample", 0))
    critic = Critic(task, loop, by="a test", heads=2, form=Binned(fit=fit))
    # to go is what is left of the time: known from the place alone
    paid = torch.ones(*x.mask.shape, 1) * torch.tensor([1.0, -3.0])
    stats = [critic.learn(paid, x, step)[1] for step in range(40)]
    assert stats[0]["explained_variance"] < 0.5 < 0.95 < stats[-1]["explained_variance"]


LOOP = replace(SMALL, learning_rate=0.01)


def last(**given: Any) -> dict[str, float]:
    stats: dict[str, float] = drive(hl_gauss, small_world(hl_gauss), given, loop=LOOP)[-2]["stats"]
    return stats


@pytest.mark.full
def test_what_the_critic_is_fitted_by_changes_the_run() -> None:
    runs = [last(values=v) for v in ("gaussian", "two_hot", "squared", "scalar")]
    runs.append(last(critic_lr=0.1))
    assert len({r["value_loss"] for r in runs}) == 5
    for given, said in (
        ({"values": "c51"}, "--values is 'c51'"),
        ({"critic_lr": -1.0}, "--critic-lr is -1"),
        ({"bins": 1}, "--bins is 1"),
        ({"spread": 0.0}, "--spread 0"),
    ):
        with pytest.raises(InputError, match=said):
            last(**given)


def explained(fit: str, rate: float, seed: int) -> float:
    """Of noisy outcomes, by a linear head of bins after forty batches."""
    rng, form = torch.Generator().manual_seed(seed), Binned(fit=fit)
    true = torch.randn(32, generator=rng) / 32**0.5

    def outcomes() -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(256, 32, generator=rng)
        right = torch.rand(256, generator=rng) < torch.sigmoid(1.5 * (x @ true) - 1)
        return x, (right.float() - 0.35) / 0.477

    head = torch.nn.Linear(32, form.outputs)
    for parameter in head.parameters():
        torch.nn.init.uniform_(parameter, -(32**-0.5), 32**-0.5, generator=rng)
    adam = torch.optim.Adam(head.parameters(), lr=rate)
    for _ in range(40):
        x, y = outcomes()
        old = form.values(head(x)).detach()
        for _ in range(2):
            adam.zero_grad()
            form.loss(head(x), old, y, clip=0.2).mean().backward()
            adam.step()
    x, y = outcomes()
    return float(explained_variance(y[:, None], form.values(head(x)).detach()[:, None]))


def test_the_losses_want_other_rates_and_the_claim_tunes_each_of_them() -> None:
    rates = hl_gauss.claim.tuned["mine"]["critic_lr"]
    best = {}
    for fit in ("gaussian", "squared"):
        means = [sum(explained(fit, rate, seed) for seed in range(2)) for rate in rates]
        best[fit] = rates[means.index(max(means))]
    assert best["squared"] < best["gaussian"] < rates[-1], best
    assert hl_gauss.claim.tuned["squared"] == hl_gauss.claim.tuned["mine"]
