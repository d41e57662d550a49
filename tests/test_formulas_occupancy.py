"""Decision processes by enumeration: against every path written out, against finite differences,
and the bounds as laws.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.formulas.occupancy import (
    action_values,
    evaluation,
    greedy,
    occupancy,
    optimal_values,
    policy_gradient,
    return_moments,
    state_laws,
    step_centred,
)
from assay.formulas.occupancy_divergence import (
    chi_squared,
    correlation,
    gain_bound,
    occupancy_kl,
    occupancy_ratio,
    sharp_gain_bound,
)

S, A, H = 3, 2, 4


def drawn(seed: int, states: int = S, actions: int = A) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """π, P, start and R of a random process, float64."""
    g = torch.Generator().manual_seed(seed)

    def law(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).softmax(-1)

    return (
        law(states, actions),
        law(states, actions, states),
        law(states),
        torch.randn(states, actions, generator=g).double(),
    )


def paths(
    pi: Tensor, P: Tensor, start: Tensor
) -> list[tuple[float, tuple[int, ...], tuple[int, ...]]]:
    """Every episode of H steps: its probability, its states and its actions."""
    out = []
    for ss in itertools.product(range(S), repeat=H):
        for aa in itertools.product(range(A), repeat=H):
            p = start[ss[0]]
            for t in range(H):
                p = p * pi[ss[t], aa[t]] * (P[ss[t], aa[t], ss[t + 1]] if t + 1 < H else 1)
            out.append((float(p), ss, aa))
    return out


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_occupancy_and_return_are_those_of_all_paths(gamma: float) -> None:
    pi, P, start, R = drawn(1)
    mu, first, second = torch.zeros(S, A, dtype=torch.float64), 0.0, 0.0
    for p, ss, aa in paths(pi, P, start):
        total = sum(gamma**t * float(R[s, a]) for t, (s, a) in enumerate(zip(ss, aa, strict=True)))
        first, second = first + p * total, second + p * total**2
        for t, (s, a) in enumerate(zip(ss, aa, strict=True)):
            mu[s, a] += p * gamma**t
    Z = sum(gamma**t for t in range(H))
    torch.testing.assert_close(occupancy(pi, P, start, horizon=H, gamma=gamma), mu / Z)
    mean, variance = return_moments(pi, P, R, start, horizon=H, gamma=gamma)
    assert (float(mean), float(variance)) == pytest.approx((first, second - first**2))
    assert Z * float((mu / Z * R).sum()) == pytest.approx(float(mean))
    assert float(
        start @ (pi * action_values(pi, P, R, horizon=H, gamma=gamma)[0]).sum(-1)
    ) == pytest.approx(float(mean))
    torch.testing.assert_close(
        state_laws(pi, P, start, horizon=H).sum(-1), torch.ones(H + 1, dtype=torch.float64)
    )


def test_policy_gradient_is_the_gradient_of_the_undiscounted_return() -> None:
    _, P, start, R = drawn(2)
    logits = torch.randn(S, A, dtype=torch.float64, requires_grad=True)
    mean, _ = return_moments(logits.softmax(-1), P, R, start, horizon=H)
    (want,) = torch.autograd.grad(mean, logits)
    torch.testing.assert_close(
        policy_gradient(logits.detach().softmax(-1), P, R, start, horizon=H), want
    )


def test_optimal_values_are_the_best_of_all_deterministic_policies() -> None:
    _, P, _, R = drawn(3, states=4)
    q = optimal_values(P, R, gamma=0.9)
    torch.testing.assert_close(q, R + 0.9 * P @ q.amax(-1))
    for choice in itertools.product(range(A), repeat=4):
        pi = torch.nn.functional.one_hot(torch.tensor(choice), A).double()
        each = evaluation(pi, P, gamma=0.9) @ R.flatten()
        torch.testing.assert_close(R + 0.9 * (P @ (pi * each).sum(-1)), each)
        assert bool(((pi * each).sum(-1) <= q.amax(-1) + 1e-9).all())
        if bool(pi[greedy(q)].all()):
            torch.testing.assert_close(each, q)
    with pytest.raises(ValueError, match="below 1"):
        optimal_values(P, R, gamma=1.0)


def test_a_reward_of_w_minus_one_has_half_the_gradient_of_chi_squared_and_all_of_its_root_s() -> (
    None
):
    """∇χ² = 2·∇E[w−1] and ∇√χ² = ∇E[w−1]/√χ², the weights held fixed; for the KL the reward is log
    w.
    """
    pi0, P, start, _ = drawn(4)
    base = occupancy(pi0, P, start, horizon=H)
    logits = (pi0.log() + torch.tensor([[0.4, 0.0], [0.0, 0.7], [-0.3, 0.0]])).requires_grad_(True)

    def mu() -> Tensor:
        return occupancy(logits.softmax(-1), P, start, horizon=H)

    def slope(x: Tensor) -> Tensor:
        return torch.autograd.grad(x, logits)[0]

    w = occupancy_ratio(mu(), base).detach()
    paid = slope((mu() * (w - 1)).sum())
    torch.testing.assert_close(slope(chi_squared(mu(), base)), 2 * paid)
    torch.testing.assert_close(
        slope(chi_squared(mu(), base).sqrt()), paid / chi_squared(mu(), base).detach().sqrt()
    )
    torch.testing.assert_close(slope(occupancy_kl(mu(), base)), slope((mu() * w.log()).sum()))
    assert float(paid.norm()) > 1e-3


def test_divergences_of_a_policy_from_itself_and_from_where_it_never_goes() -> None:
    pi, P, start, _ = drawn(5)
    mu = occupancy(pi, P, start, horizon=H)
    assert float(chi_squared(mu, mu)) == 0 and float(occupancy_kl(mu, mu)) == pytest.approx(
        0, abs=1e-12
    )
    other = mu.clone()
    other[0] = 0
    assert (
        float(chi_squared(other / other.sum(), mu))
        > float(occupancy_kl(other / other.sum(), mu))
        > 0
    )
    with pytest.raises(ValueError, match="never visits"):
        chi_squared(mu, other)
    with pytest.raises(ValueError, match="constant"):
        correlation(torch.ones_like(mu), mu, mu)


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.floats(0.1, 3.0))
def test_both_bounds_hold_and_the_sharp_one_is_never_below(seed: int, spread: float) -> None:
    """Random rewards and occupancies; the truth's sign is chosen so that the correlation is
    positive.
    """
    g = torch.Generator().manual_seed(seed)
    base, proxy, truth, tilt = (
        torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(4)
    )
    base = base.flatten().softmax(0).reshape(5, 3)
    mu = (base.log() + spread * tilt).flatten().softmax(0).reshape(5, 3)
    r = float(correlation(proxy, truth, base))
    truth, r = (truth, r) if r > 0 else (-truth, -r)

    def gain(x: Tensor) -> Tensor:
        x = x - (base * x).sum()
        return (mu * x).sum() / (base * x.square()).sum().sqrt()

    chi2, rise = chi_squared(mu, base), gain(proxy)
    paper, sharp = (
        gain_bound(rise, chi2, r=max(r, 1e-9)),
        sharp_gain_bound(rise, chi2, r=max(r, 1e-9)),
    )
    assert float(gain(truth)) >= float(sharp) - 1e-9 and float(sharp) >= float(paper) - 1e-9


def test_the_sharp_bound_is_reached() -> None:
    """R = r·R̃ − √(1−r²)·u/|u| with u what is left of w − 1 without R̃: the truth that is as bad as
    it can be.
    """
    base = torch.full((4, 2), 1 / 8, dtype=torch.float64)
    mu = torch.linspace(1, 3, 8, dtype=torch.float64).reshape(4, 2)
    mu, proxy, r = (
        mu / mu.sum(),
        torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]).double(),
        0.6,
    )
    w, rise = mu / base - 1, (mu * proxy).sum()
    u = w - rise * proxy
    worst = r * proxy - (1 - r**2) ** 0.5 * u / (base * u.square()).sum().sqrt()
    assert float(correlation(proxy, worst, base)) == pytest.approx(r)
    assert float((mu * worst).sum()) == pytest.approx(
        float(sharp_gain_bound(rise, chi_squared(mu, base), r=r))
    )
    for bound in (gain_bound, sharp_gain_bound):
        with pytest.raises(ValueError, match="positive correlation"):
            bound(rise, rise, r=0.0)


def test_step_centred_compares_with_the_others_that_are_still_on() -> None:
    G = torch.tensor([[[1.0, 5.0], [2.0, 7.0], [6.0, 99.0]]])
    mask = torch.tensor([[[True, True], [True, True], [True, False]]])
    torch.testing.assert_close(
        step_centred(G, mask),
        torch.tensor([[[1.0 - 4.0, -2.0], [2.0 - 3.5, 2.0], [6.0 - 1.5, 0.0]]]),
    )
    alone = torch.zeros(1, 3, 2, dtype=torch.bool)
    alone[0, 0] = True
    assert not step_centred(G, alone).any()
