"""Preference games: what exploitability, mixtures, proximal steps and the Nash policy mean."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from assay.formulas import games

RPS = torch.tensor([[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]], dtype=torch.float64)
MU = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def random_game(A: int, B: int = 4) -> tuple[Tensor, Tensor]:
    """B games of A responses and a reference for each, with nothing in common."""
    g = torch.Generator().manual_seed(A)
    upper = torch.rand(B, A, A, generator=g, dtype=torch.float64).triu(1)
    P = upper + (1 - upper.mT).tril(-1) + 0.5 * torch.eye(A, dtype=torch.float64)
    return P, torch.randn(B, A, generator=g, dtype=torch.float64).mul(2).softmax(-1)


def test_uniform_play_of_rock_paper_scissors_cannot_be_beaten_and_rock_always_is() -> None:
    uniform, rock = torch.full((3,), 1 / 3, dtype=torch.float64), torch.eye(3).double()[0]
    assert float(games.exploitability(uniform, RPS)) == pytest.approx(0, abs=1e-15)
    assert float(games.exploitability(rock, RPS)) == 0.5  # one player's gain; the gap is 1
    assert float(games.win_rate(rock, torch.eye(3).double()[1], RPS)) == 0.0


def test_a_policy_beats_itself_with_one_half_and_the_two_win_rates_sum_to_one() -> None:
    P, mu = random_game(6)
    other = mu.flip(0)
    torch.testing.assert_close(games.win_rate(mu, mu, P), torch.full((4,), 0.5).double())
    total = games.win_rate(mu, other, P) + games.win_rate(other, mu, P)
    torch.testing.assert_close(total, torch.ones(4).double())


def test_the_duality_gap_is_twice_the_exploitability() -> None:
    P, pi = random_game(5)
    best, worst = (P @ pi[..., None]).amax((-1, -2)), (pi[:, None] @ P).amin((-1, -2))
    torch.testing.assert_close(best - worst, 2 * games.exploitability(pi, P))


def test_regularised_exploitability_is_the_best_of_all_responses() -> None:
    """By ascent over π′ of P_τ(π′ ≻ π), which knows nothing of the log-sum."""
    P, pi = random_game(4, 1)
    P, pi, mu, tau = P[0], pi[0], MU.new_tensor([0.4, 0.3, 0.2, 0.1]), 0.3

    def kl(p: Tensor) -> Tensor:
        return (p * (p / mu).log()).sum()

    z = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for _ in range(3000):
        q = z.softmax(-1)
        value = q @ P @ pi - tau * kl(q) + tau * kl(pi) - 0.5
        (grad,) = torch.autograd.grad(value, z)
        z = (z + 2 * grad).detach().requires_grad_(True)
    found = games.regularised_exploitability(pi, P, mu, tau=tau)
    assert float(found) == pytest.approx(float(value.detach()), abs=1e-9)
    assert torch.equal(
        games.regularised_exploitability(pi, P, mu, tau=0.0), games.exploitability(pi, P)
    )


@pytest.mark.parametrize("tau", [0.05, 0.3, 2.0])
def test_regularised_exploitability_is_the_kl_to_the_best_response(tau: float) -> None:
    P, pi = random_game(6)
    mu = pi.flip(0)
    best = (mu.log() + (P @ pi[..., None])[..., 0] / tau).log_softmax(-1)
    found = games.regularised_exploitability(pi, P, mu, tau=tau)
    torch.testing.assert_close(found, tau * (pi * (pi.log() - best)).sum(-1))


@pytest.mark.parametrize("eta", [0.01, 0.1, 1.0])
def test_without_regularisation_every_step_leaves_a_nash_policy_of_all_responses(
    eta: float,
) -> None:
    """On rock-paper-scissors KL(uniform‖π) grows; with a response nobody plays it first falls."""
    third = torch.full((3,), 1 / 3, dtype=torch.float64)

    def away(P: Tensor, nash: Tensor, logp: Tensor, steps: int) -> list[float]:
        found = []
        for _ in range(steps):
            found.append(float(torch.xlogy(nash, nash).sum() - (nash * logp).sum()))
            logp = games.proximal_step(logp, P @ logp.exp(), logp, eta=eta, tau=0.0)
        return found

    grows = away(RPS, third, MU.log(), 50)
    assert all(after > before for before, after in pairwise(grows))
    P = torch.full((4, 4), 0.5, dtype=torch.float64)
    P[:3, :3], P[:3, 3], P[3, :3] = RPS, 0.9, 0.1  # the fourth loses to all others
    start = torch.tensor([0.2, 0.2, 0.2, 0.4], dtype=torch.float64).log()
    falls = away(P, torch.cat([third, third.new_zeros(1)]), start, 20)
    assert all(after < before for before, after in pairwise(falls))


@pytest.mark.parametrize("A", [2, 3, 8, 20])
@pytest.mark.parametrize("tau", [10.0, 0.1, 0.003])
def test_the_regularised_nash_policy_is_its_own_best_response(A: int, tau: float) -> None:
    P, mu = random_game(A)
    pi = games.regularised_nash(P, mu, tau=tau)
    gap = games.regularised_exploitability(pi, P, mu, tau=tau)
    assert float(gap.abs().max()) < 1e-12
    response = (mu.log() + (P @ pi[..., None])[..., 0] / tau).softmax(-1)
    torch.testing.assert_close(response, pi, rtol=1e-8, atol=1e-12)


def test_the_nash_policy_is_where_tiny_proximal_steps_end() -> None:
    """Another algorithm, no Newton's method: 20,000 steps of mirror descent."""
    star = games.regularised_nash(RPS, MU, tau=0.1)
    z = MU.log()
    for _ in range(20_000):
        z = games.proximal_step(z, RPS @ z.exp(), MU.log(), eta=0.02, tau=0.1)
    torch.testing.assert_close(z.exp(), star, rtol=0, atol=1e-10)


def test_known_quantal_equilibria() -> None:
    """A biased rock-paper-scissors, payoffs brought to [0, 1], at temperature 0.1: five digits
    from the tests of the authors of magnetic mirror descent.
    """
    payoff = torch.tensor([[0, -3, 3], [3, 0, -1], [-3, 1, 0]], dtype=torch.float64)
    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
    found = games.regularised_nash((payoff + 3) / 6, uniform, tau=0.1)
    want = torch.tensor([0.17348, 0.48630, 0.34022], dtype=torch.float64)
    torch.testing.assert_close(found, want, rtol=0, atol=1e-5)


def test_a_large_tau_is_the_reference_and_a_small_one_the_nash_policy() -> None:
    near = games.regularised_nash(RPS, MU, tau=1e6)
    torch.testing.assert_close(near, MU, rtol=0, atol=1e-6)
    free = games.regularised_nash(RPS, MU, tau=1e-4)
    assert float(games.exploitability(free, RPS)) < 1e-3


def test_a_proximal_step_maximises_what_it_says() -> None:
    P, mu = random_game(5, 1)
    pi, q, log_mu, eta, tau = (
        mu[0].flip(0).log(),
        (P @ mu[..., None])[0, :, 0],
        mu[0].log(),
        0.7,
        0.2,
    )
    new = games.proximal_step(pi, q, log_mu, eta=eta, tau=tau)

    def objective(z: Tensor) -> Tensor:
        lp = z.log_softmax(-1)
        p = lp.exp()
        kl_mu, kl_pi = (p * (lp - log_mu)).sum(), (p * (lp - pi)).sum()
        return eta * ((p * q).sum() - tau * kl_mu) - kl_pi

    z = new.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(objective(z), z)
    assert float(grad.abs().max()) < 1e-12
    moved = new + torch.tensor([0.1, 0, 0, 0, 0])
    assert float(objective(moved)) < float(objective(new))


def test_the_mixture_has_its_ends_and_its_formula_between() -> None:
    pi = MU.flip(0)
    torch.testing.assert_close(games.geometric_mixture(pi, MU, weight=0.0), pi)
    torch.testing.assert_close(games.geometric_mixture(pi, MU, weight=1.0), MU)
    raw = pi**0.75 * MU**0.25
    torch.testing.assert_close(games.geometric_mixture(pi, MU, weight=0.25), raw / raw.sum())
    barred = torch.tensor([0.0, -torch.inf]).double()
    ends = games.log_geometric_mixture(barred, torch.zeros(2).double(), weight=0.0)
    assert not bool(ends.isnan().any())


def test_truncation_keeps_a_skew_matrix_skew_and_whole_at_full_rank() -> None:
    g = torch.Generator().manual_seed(0)
    raw = torch.randn(6, 6, generator=g, dtype=torch.float64)
    W = raw - raw.mT
    torch.testing.assert_close(games.truncated_skew(W, rank=3), W)
    one = games.truncated_skew(W, rank=1)
    torch.testing.assert_close(one, -one.mT)
    assert int(torch.linalg.matrix_rank(one)) == 2


def test_what_cannot_be_computed_is_an_error() -> None:
    with pytest.raises(ValueError, match="tau is 0"):
        games.regularised_nash(RPS, MU, tau=0.0)
    with pytest.raises(ValueError, match="probability 0"):
        games.regularised_nash(RPS, torch.tensor([1.0, 0, 0]), tau=0.1)
    with pytest.raises(ValueError, match="weight is 1.5"):
        games.geometric_mixture(MU, MU, weight=1.5)
    with pytest.raises(ValueError, match="eta is 0"):
        games.proximal_step(MU.log(), MU, MU.log(), eta=0.0, tau=0.1)
    with pytest.raises(ArithmeticError, match="take a larger tau"):
        games.regularised_nash(RPS * torch.nan, MU, tau=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_of_equally_strong_planes_one_is_kept_whole(seed: int) -> None:
    """Two planes of strength 2, turned at random: one of them has the least distance, 2·√2."""
    plane = torch.tensor([[0, 2.0], [-2.0, 0]], dtype=torch.float64)
    noise = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turn = torch.linalg.qr(noise)[0]
    W = turn @ torch.block_diag(plane, plane, 0 * plane) @ turn.T  # type: ignore[no-untyped-call]
    one = games.truncated_skew(W, rank=1)
    torch.testing.assert_close(one, -one.T)
    want = torch.tensor([2.0, 2, 0, 0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.svdvals(one), want, rtol=0, atol=1e-12)
    assert float((W - one).norm()) == pytest.approx(2 * 2**0.5)
