"""Self-play formulas: minimisers over all pairs, quantal equilibria, ties, absent completions."""

from __future__ import annotations

import itertools

import pytest
import torch

from assay.formulas import pairwise
from assay.formulas.advantage import leave_one_out
from assay.formulas.self_play import (
    dno,
    inpo,
    magnetic_step,
    margin_pairs,
    moved_magnet,
    no_regret_step,
    win_proportions,
)

D = torch.float64
# a game that is not symmetric between its actions, and its quantal equilibria to 5 digits
PAYOFF = (torch.tensor([[0, -3, 3], [3, 0, -1], [-3, 1, 0]], dtype=D) + 3) / 6
QUANTAL = {
    0.05: (0.15174, 0.46795, 0.38031),
    0.1: (0.17348, 0.48630, 0.34022),
    0.2: (0.22364, 0.47799, 0.29837),
    0.5: (0.29813, 0.41382, 0.28805),
}


def game(actions: int, seed: int) -> torch.Tensor:
    """Random preferences, P + Pᵀ = 1; no score explains them."""
    half = torch.rand(actions, actions, generator=torch.Generator().manual_seed(seed), dtype=D)
    return (half + 1 - half.T) / 2


def policy(actions: int, seed: int) -> torch.Tensor:
    return torch.randn(actions, generator=torch.Generator().manual_seed(seed), dtype=D).log_softmax(
        -1
    )


def minimised(loss, actions: int) -> torch.Tensor:
    """log π at the minimum of a smooth convex loss, found by LBFGS from the uniform policy."""
    logits = torch.zeros(actions, dtype=D, requires_grad=True)
    opt = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-13, tolerance_change=0)

    def closure():
        opt.zero_grad()
        value = loss(logits.log_softmax(-1))
        value.backward()
        return value

    for _ in range(3):
        opt.step(closure)
    return logits.detach().log_softmax(-1)


def every_pair(log_k: torch.Tensor):
    """All pairs of two independent draws, and the chance of each."""
    i, j = (torch.tensor(x) for x in zip(*itertools.product(range(len(log_k)), repeat=2)))
    return i, j, (log_k[i] + log_k[j]).exp()


@pytest.mark.parametrize(("eta", "tau"), [(0.7, 0.2), (0.5, 0.5), (1.5, 0.0)])
def test_inpo_over_all_pairs_is_minimised_by_the_no_regret_step(eta: float, tau: float) -> None:
    P, log_k, log_mu = game(5, 0), policy(5, 1), policy(5, 2)
    i, j, chance = every_pair(log_k)

    def loss(logp):
        each = inpo(
            logp[i] - logp[j],
            log_k[i] - log_k[j],
            log_mu[i] - log_mu[j],
            eta=eta,
            tau=tau,
            p=P[i, j],
        )
        return (chance * each).sum()

    q = P @ log_k.exp()
    expected = log_k * (1 - tau / eta) + log_mu * tau / eta + q / eta
    found = minimised(loss, 5)
    torch.testing.assert_close(found, expected.log_softmax(-1), atol=1e-7, rtol=0)
    torch.testing.assert_close(
        no_regret_step(log_k, q, log_mu, eta=eta, tau=tau), expected.log_softmax(-1)
    )


def test_hard_labels_are_right_on_average() -> None:
    """Σ over both outcomes of a label, weighted by its chance, is the loss with that chance."""
    P, a = game(4, 3), torch.randn(3, 6, dtype=D)
    p = P[0, 1].expand(6)
    of = {
        k: inpo(*a, eta=0.4, tau=0.1, p=torch.full((6,), v, dtype=D))
        for k, v in (("won", 1.0), ("lost", 0.0))
    }
    torch.testing.assert_close(
        inpo(*a, eta=0.4, tau=0.1, p=p), p * of["won"] + (1 - p) * of["lost"]
    )


def test_inpo_is_ipo_against_the_anchor() -> None:
    pi, k, mu = torch.randn(3, 8, dtype=D)
    anchored = pi - (0.1 / 0.4) * mu - (1 - 0.1 / 0.4) * k
    torch.testing.assert_close(
        inpo(pi, k, mu, eta=0.4, tau=0.1),
        pairwise.ipo(anchored, torch.zeros_like(anchored), tau=0.4),
    )


def test_a_larger_eta_is_a_smaller_step() -> None:
    P, log_k, log_mu = game(5, 0), policy(5, 1), policy(5, 1)
    q = P @ log_k.exp()
    moved = [
        float((no_regret_step(log_k, q, log_mu, eta=eta, tau=0.1) - log_k).abs().max())
        for eta in (0.5, 1.0, 4.0)
    ]
    assert moved[0] > moved[1] > moved[2] > 0


def test_dno_over_all_pairs_is_minimised_by_multiplicative_weights() -> None:
    P, log_k, eta = game(5, 4), policy(5, 5), 0.3
    r, (i, j, chance) = P @ log_k.exp(), every_pair(log_k)

    def loss(logp):
        ratio = logp - log_k
        return (chance * dno(ratio[i] - ratio[j], r[i] - r[j], eta=eta)).sum()

    expected = (log_k + r / eta).log_softmax(-1)
    torch.testing.assert_close(minimised(loss, 5), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(no_regret_step(log_k, r, log_k, eta=eta, tau=0.0), expected)


def test_dno_changes_nothing_where_a_pair_is_exchanged_and_is_no_less_than_the_entropy() -> None:
    d, g = torch.randn(2, 50, dtype=D)
    torch.testing.assert_close(dno(d, g, eta=0.5), dno(-d, -g, eta=0.5))
    s = g.sigmoid()
    entropy = -s * s.log() - (1 - s) * (1 - s).log()
    assert bool((dno(d, g, eta=0.5) >= entropy - 1e-12).all())
    torch.testing.assert_close(dno(g / 0.5, g, eta=0.5), entropy)


@pytest.mark.parametrize("alpha", QUANTAL)
def test_magnetic_mirror_descent_finds_the_quantal_equilibrium(alpha: float) -> None:
    logp = policy(3, 6)
    magnet = torch.zeros(3, dtype=D).log_softmax(-1)
    for _ in range(2000):
        logp = magnetic_step(logp, PAYOFF @ logp.exp(), magnet, eta=0.4, alpha=alpha)
    assert [round(float(x), 5) for x in logp.exp()] == list(QUANTAL[alpha])
    torch.testing.assert_close(
        logp, (magnet + PAYOFF @ logp.exp() / alpha).log_softmax(-1), atol=1e-10, rtol=0
    )


def test_a_magnetic_step_maximises_its_objective() -> None:
    logp, magnet, q = policy(4, 7), policy(4, 8), torch.randn(4, dtype=D)
    eta, alpha = 0.6, 0.3

    def objective(new):
        p = new.exp()
        return p @ q - alpha * (p @ (new - magnet)) - (p @ (new - logp)) / eta

    step = magnetic_step(logp, q, magnet, eta=eta, alpha=alpha)
    others = (step + 0.05 * torch.randn(200, 4, dtype=D)).log_softmax(-1)
    assert all(float(objective(o)) < float(objective(step)) for o in others)
    torch.testing.assert_close(minimised(lambda new: -objective(new), 4), step, atol=1e-6, rtol=0)


def test_the_no_regret_step_is_a_magnetic_one_of_another_size() -> None:
    logp, magnet, q = policy(4, 7), policy(4, 8), torch.randn(4, dtype=D)
    for eta, tau in ((0.9, 0.2), (2.0, 0.0)):
        torch.testing.assert_close(
            no_regret_step(logp, q, magnet, eta=eta, tau=tau),
            magnetic_step(logp, q, magnet, eta=1 / (eta - tau), alpha=tau),
        )


def test_a_magnet_that_follows_leads_to_the_nash_equilibrium() -> None:
    """The unregularised equilibrium of the game is (1/7, 3/7, 3/7)."""
    logp = magnet = torch.zeros(3, dtype=D).log_softmax(-1)
    still, nash = logp, torch.tensor([1 / 7, 3 / 7, 3 / 7], dtype=D)
    for _ in range(1000):
        logp = magnetic_step(logp, PAYOFF @ logp.exp(), magnet, eta=1.0, alpha=0.2)
        magnet = moved_magnet(magnet, logp, kappa=0.1)
        still = magnetic_step(
            still, PAYOFF @ still.exp(), torch.zeros(3, dtype=D), eta=1.0, alpha=0.2
        )
    assert float((logp.exp() - nash).abs().max()) < 1e-4
    assert float((still.exp() - nash).abs().max()) > 0.05
    torch.testing.assert_close(moved_magnet(magnet, logp, kappa=0.0), magnet)
    torch.testing.assert_close(moved_magnet(magnet, logp, kappa=1.0), logp)


def test_of_multiplicative_weights_the_average_converges_and_the_last_does_not() -> None:
    P = game(8, 14)
    logp, total, gaps = torch.zeros(8, dtype=D).log_softmax(-1), torch.zeros(8, dtype=D), {}
    for t in range(1, 10001):
        total += logp.exp()
        logp = magnetic_step(logp, P @ logp.exp(), logp, eta=0.5, alpha=0.0)
        if t in (100, 1000, 10000):
            gaps[t] = [float((P @ p).max() - 0.5) for p in (total / t, logp.exp())]
    (a, _), (b, _), (c, last) = gaps.values()
    # at least as fast as 1/√T over each decade; the last iterate is no nearer than the uniform
    assert b < a / 10**0.5 and c < b / 10**0.5 and c < 0.01
    assert last > 10 * c


def test_win_proportions_are_means_over_the_others_that_are_there() -> None:
    P = torch.tensor([[0.5, 0.9, 0.2], [0.1, 0.5, 0.6], [0.8, 0.4, 0.5]], dtype=D) - 0.5
    every = torch.ones(3, dtype=torch.bool)
    torch.testing.assert_close(win_proportions(P, every), torch.tensor([0.55, 0.35, 0.6], dtype=D))
    two = torch.tensor([True, False, True])
    torch.testing.assert_close(win_proportions(P, two), torch.tensor([0.2, 0.0, 0.8], dtype=D))
    one = torch.tensor([True, False, False])
    torch.testing.assert_close(win_proportions(P, one), torch.tensor([0.5, 0.0, 0.0], dtype=D))
    # whatever lies at an absent completion or on the diagonal is not read
    P = P.clone()
    P[1], P[:, 1], P[0, 0] = torch.nan, torch.nan, torch.nan
    torch.testing.assert_close(win_proportions(P, two), torch.tensor([0.2, 0.0, 0.8], dtype=D))


def test_win_proportions_sum_to_half_the_games_and_estimate_the_win_rate() -> None:
    P, log_k = game(3, 11) - 0.5, policy(3, 12)
    present = torch.ones(3, dtype=torch.bool)
    torch.testing.assert_close(win_proportions(P, present).sum(), torch.tensor(1.5, dtype=D))
    # unbiased: its mean over all draws of three, given the first, is P(y ≻ π)
    for first in range(3):
        mean = 0.0
        for j, k in itertools.product(range(3), repeat=2):
            drawn = torch.tensor([first, j, k])
            r = win_proportions(P[drawn][:, drawn], present)[0]
            mean += float((log_k[j] + log_k[k]).exp() * r)
        assert mean == pytest.approx(float((P @ log_k.exp())[first]) + 0.5)


def test_margin_pairs_have_the_largest_gaps_and_no_absent_completion() -> None:
    wins = torch.tensor([[0.9, 0.1, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]], dtype=D)
    present = torch.tensor([[True, True, True, False], [True] * 4])
    place, kept = margin_pairs(wins, present, margin=0.3, most=0)
    found = [place[b][kept[b]].tolist() for b in range(2)]
    assert found == [[[0, 1], [0, 2], [2, 1]], []]
    place, kept = margin_pairs(wins, present, margin=0.5, most=2)
    assert place[0][kept[0]].tolist() == [[0, 1]] and not bool(kept[1].any())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: inpo(x, x, x, eta=0.1, tau=0.2), "tau <= eta"),
        (lambda x: inpo(x, x, x, eta=0.0, tau=0.0), "eta above 0"),
        (lambda x: dno(x, x, eta=0.0), "above 0"),
        (lambda x: magnetic_step(x, x, x, eta=0.0, alpha=0.0), "eta must be above 0"),
        (lambda x: magnetic_step(x, x, x, eta=1.0, alpha=float("nan")), "at least 0"),
        (lambda x: moved_magnet(x, x, kappa=1.5), "share of the way"),
    ],
)
def test_constants_out_of_range_are_named(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(torch.zeros(3, dtype=D))


@pytest.mark.parametrize("n", [2, 3])
def test_the_others_mean_of_win_proportions_only_lengthens_the_gradient(n: int) -> None:
    """By enumeration of n draws: leave-one-out gives n/(n−1) times the gradient, less ½ gives it.

    A prompt's win proportions sum to n/2, so that the others' mean is no independent baseline.
    """
    P, z = game(4, 7), policy(4, 8).requires_grad_(True)
    logp, all_here = z.log_softmax(-1), torch.ones(1, n, dtype=torch.bool)
    (want,) = torch.autograd.grad(logp.exp() @ P @ logp.exp().detach(), z, retain_graph=True)
    found = {"others": torch.zeros(4, dtype=D), "half": torch.zeros(4, dtype=D)}
    for draws in itertools.product(range(4), repeat=n):
        y = torch.tensor(draws)
        r = win_proportions((P[y][:, y] - 0.5)[None], all_here)
        for name, A in (("others", leave_one_out(r, all_here)), ("half", r - 0.5)):
            (g,) = torch.autograd.grad((A[0] * logp[y]).mean(), z, retain_graph=True)
            found[name] += logp[y].sum().exp().detach() * g
    torch.testing.assert_close(found["half"], want)
    torch.testing.assert_close(found["others"], want * n / (n - 1))
