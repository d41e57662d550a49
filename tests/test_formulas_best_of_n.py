"""Best of n: its distribution and KL against enumeration, ties included; the bound; the two
estimators; the traps.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.formulas import curves, divergence

F64 = torch.float64


def enumerated(pmf: torch.Tensor, reward: torch.Tensor, n: int) -> torch.Tensor:
    """The best of n draws with ties broken at random, by walking over all V^n draws."""
    out = torch.zeros_like(pmf)
    for draws in itertools.product(range(len(pmf)), repeat=n):
        index = torch.tensor(draws)
        best = index[reward[index] == reward[index].max()]
        out.index_add_(0, best, pmf[index].prod().expand(len(best)) / len(best))
    return out


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    return float(torch.where(p > 0, p * (p / q).log(), 0.0).sum())


PMF = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05], dtype=F64)
REWARDS = [
    [0.1, -1.0, 2.0, 0.5, 3.0],
    [1.0, 0.0, 1.0, 0.0, 1.0],
    [0.0, 0.0, 0.0, 0.0, 0.0],
    [2.0, 1.0, 1.0, 1.0, 0.0],
]


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_distribution_and_kl_equal_enumeration_ties_included(reward, n):
    r = torch.tensor(reward, dtype=F64)
    want = enumerated(PMF, r, n)
    torch.testing.assert_close(divergence.best_of_n_pmf(PMF, r, n), want, rtol=0, atol=1e-12)
    assert float(divergence.best_of_n_exact(PMF, r, n)) == pytest.approx(kl(want, PMF), abs=1e-12)


def test_prompts_are_rows():
    pmf, r = torch.rand(3, 6, dtype=F64), torch.randint(0, 3, (3, 6)).double()
    pmf = pmf / pmf.sum(-1, keepdim=True)
    rows = torch.stack([divergence.best_of_n_exact(p, x, 4) for p, x in zip(pmf, r, strict=True)])
    torch.testing.assert_close(divergence.best_of_n_exact(pmf, r, 4), rows)


@settings(max_examples=200)
@given(
    st.lists(st.floats(0.001, 1), min_size=2, max_size=12),
    st.integers(1, 100_000),
    st.integers(1, 5),
    st.integers(0, 999),
)
def test_the_bound_is_never_below_the_exact_kl(weights, n, levels, seed):
    pmf = torch.tensor(weights, dtype=F64)
    pmf = pmf / pmf.sum()
    r = torch.randint(0, levels, pmf.shape, generator=torch.Generator().manual_seed(seed)).double()
    exact = float(divergence.best_of_n_exact(pmf, r, n))
    assert -1e-12 <= exact <= float(divergence.best_of_n_bound(n)) + 1e-9
    assert divergence.best_of_n_pmf(pmf, r, n).sum() == pytest.approx(1, abs=1e-9)


def test_equal_rewards_cost_nothing_and_two_levels_cost_at_most_log_of_the_share():
    """A binary verifier: KL → −log P(right), however large n; the bound goes on growing."""
    pmf = torch.full((50,), 0.02, dtype=F64)
    assert float(divergence.best_of_n_exact(pmf, torch.zeros(50, dtype=F64), 64)) == pytest.approx(
        0, abs=1e-12
    )
    two = (torch.arange(50) < 25).double()
    assert float(divergence.best_of_n_exact(pmf, two, 64)) == pytest.approx(math.log(2), abs=1e-6)
    assert float(divergence.best_of_n_bound(64)) > 3.17


def test_the_exact_kl_at_a_million_draws_is_minus_log_of_the_best():
    assert float(
        divergence.best_of_n_exact(PMF, torch.arange(5.0, dtype=F64), 10**6)
    ) == pytest.approx(-math.log(0.05), abs=1e-9)


def mean_estimate(pmf, r, n):
    return float(
        (divergence.best_of_n_pmf(pmf, r, n) * divergence.best_of_n_estimate(pmf.log(), n)).sum()
    )


def test_the_estimator_beats_the_bound_where_answers_have_mass():
    g = torch.Generator().manual_seed(0)
    pmf = torch.rand(50, generator=g, dtype=F64).pow(2)
    pmf, r = pmf / pmf.sum(), torch.randn(50, generator=g, dtype=F64)
    for n, share in ((16, 0.5), (64, 0.2), (1024, 0.01)):
        exact, bound = (
            float(divergence.best_of_n_exact(pmf, r, n)),
            float(divergence.best_of_n_bound(n)),
        )
        assert abs(mean_estimate(pmf, r, n) - exact) < share * (bound - exact)


def test_the_estimator_overshoots_where_rewards_tie():
    """Why the tie-class formula is there: a verifier's two levels on 50 answers."""
    pmf, two = torch.full((50,), 0.02, dtype=F64), (torch.arange(50) < 25).double()
    assert mean_estimate(pmf, two, 64) > float(divergence.best_of_n_exact(pmf, two, 64)) + 1


def test_the_estimator_is_exact_for_an_atom_above_a_continuum():
    """One answer of mass ε above 20 000 tiny ones."""
    e, V, n = 0.03, 20_000, 16
    pmf = torch.cat([torch.full((V,), (1 - e) / V, dtype=F64), torch.tensor([e], dtype=F64)])
    exact = divergence.best_of_n_exact(pmf, torch.arange(V + 1).double(), n)
    assert float(
        divergence.best_of_n_estimate(torch.tensor(e, dtype=F64).log(), n)
    ) == pytest.approx(float(exact), abs=1e-3)


@pytest.mark.parametrize("n", [1, 2, 64, 10**6])
def test_the_estimator_at_both_ends(n):
    """ε → 0 is the bound, also where ε itself underflows; ε = 1 is a policy that cannot move."""
    out = divergence.best_of_n_estimate(
        torch.tensor([-1e4, -800.0, -400.0, -60.0, 0.0], dtype=F64), n
    )
    bound = float(divergence.best_of_n_bound(n))
    assert out.tolist() == pytest.approx([bound] * 4 + [0.0], abs=1e-9)


@pytest.mark.parametrize(
    "call",
    [
        lambda: divergence.best_of_n_bound(0),
        lambda: divergence.best_of_n_exact(PMF, PMF, 0),
        lambda: divergence.best_of_n_estimate(PMF.log(), 0),
        lambda: curves.best_of_n_weights(4, 0),
        lambda: curves.best_of_n(PMF[None], PMF[None], [0], torch.ones(1, 5, dtype=torch.bool)),
    ],
)
def test_best_of_none_is_refused(call):
    with pytest.raises(ValueError, match="at least 1|1 ≤ n ≤ N"):
        call()


# the unbiased estimate of best-of-n's gold from N scored answers


def over_all_subsets(proxy: list[float], gold: list[float], n: int) -> float:
    """Mean over all n-subsets of the gold of the best by proxy, ties broken at random."""
    values = []
    for subset in itertools.combinations(range(len(proxy)), n):
        top = max(proxy[i] for i in subset)
        best = [gold[i] for i in subset if proxy[i] == top]
        values.append(sum(best) / len(best))
    return sum(values) / len(values)


CASES = [
    ([0.3, 1.2, -0.4, 2.0, 0.9, -1.1, 0.0], [1.0, 2.0, 0.5, -3.0, 0.1, 0.2, 0.7]),
    ([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 2.0], [1.0, 2.0, 0.5, -3.0, 0.1, 0.2, 0.7]),
    ([0.0] * 6, [3.0, 1, 4, 1, 5, 9]),
]


@pytest.mark.parametrize(("proxy", "gold"), CASES)
def test_the_unbiased_estimate_is_the_mean_over_all_subsets(proxy, gold):
    p, g, ns = (
        torch.tensor([proxy], dtype=F64),
        torch.tensor([gold], dtype=F64),
        list(range(1, len(proxy) + 1)),
    )
    got = curves.best_of_n(p, g, ns, torch.ones_like(p, dtype=torch.bool))
    assert got[0].tolist() == pytest.approx(
        [over_all_subsets(proxy, gold, n) for n in ns], abs=1e-12
    )


def test_it_is_unbiased_for_the_true_best_of_n():
    """All 3⁴ ways of drawing N = 4 from three answers, two of them tied: the mean estimate is the
    exact expectation.
    """
    pmf, proxy, gold = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 1.0], [0.2, 0.9, -1.0]], dtype=F64)
    draws = torch.tensor(list(itertools.product(range(3), repeat=4)))
    got = curves.best_of_n(
        proxy[draws], gold[draws], [1, 2, 3, 4], torch.ones_like(draws, dtype=torch.bool)
    )
    mean = (pmf[draws].prod(-1, keepdim=True) * got).sum(0)
    want = [float((divergence.best_of_n_pmf(pmf, proxy, n) * gold).sum()) for n in (1, 2, 3, 4)]
    assert mean.tolist() == pytest.approx(want, abs=1e-12)


def test_ties_are_broken_without_looking_at_gold():
    """The trap: sorting by (proxy, gold) hands each tie to the better answer. A file sorted by gold
    must not either.
    """
    g = torch.Generator().manual_seed(0)
    gold = (
        torch.randn(200, 32, generator=g, dtype=F64).sort(-1).values
    )  # the file is sorted by gold
    proxy = torch.randint(0, 3, (200, 32), generator=g).double()  # and the proxy knows nothing
    honest = curves.best_of_n(proxy, gold, [8], torch.ones_like(proxy, dtype=torch.bool)).mean()
    trap = (
        sum(
            float(
                gold[b][sorted(range(32), key=lambda i: (proxy[b, i], gold[b, i]))]
                @ curves.best_of_n_weights(32, 8)
            )
            for b in range(200)
        )
        / 200
    )
    assert abs(float(honest)) < 0.15 < 0.5 < trap


def test_permuting_answers_changes_nothing():
    p, g, present = (
        torch.randint(0, 4, (5, 9)).double(),
        torch.randn(5, 9, dtype=F64),
        torch.rand(5, 9) < 0.7,
    )
    order = torch.randperm(9)
    torch.testing.assert_close(
        curves.best_of_n(p[:, order], g[:, order], [1, 2, 3], present[:, order]),
        curves.best_of_n(p, g, [1, 2, 3], present),
        equal_nan=True,
    )


@pytest.mark.parametrize("garbage", [torch.nan, 1e30, torch.inf])
def test_absent_answers_never_matter_and_too_few_is_nan(garbage):
    present = torch.tensor(
        [[True, True, False, True, False], [False, True, False, False, False], [False] * 5]
    )
    p, g = torch.randn(3, 5), torch.randn(3, 5)
    got = curves.best_of_n(
        torch.where(present, p, garbage), torch.where(present, g, garbage), [1, 3], present
    )
    alone = curves.best_of_n(
        p[:1, [0, 1, 3]], g[:1, [0, 1, 3]], [1, 3], torch.ones(1, 3, dtype=torch.bool)
    )
    torch.testing.assert_close(got[0], alone[0])
    assert got[1, 0] == g[1, 1].double() and got[1, 1].isnan() and got[2].isnan().all()


def test_a_present_answer_without_a_number_is_refused():
    p = torch.zeros(2, 3)
    p[1, 2] = torch.nan
    with pytest.raises(ValueError, match="proxy is nan at prompt 1, completion 2"):
        curves.best_of_n(p, torch.zeros(2, 3), [1], torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="gold is nan"):
        curves.best_of_n(torch.zeros(2, 3), p, [1], torch.ones(2, 3, dtype=torch.bool))


@pytest.mark.parametrize("n", [1, 2, 100, 6000, 12_500, 12_600])
def test_weights_of_a_large_pool_are_finite_and_sum_to_one(n):
    w = curves.best_of_n_weights(12_600, n)
    assert w.isfinite().all() and float(w.sum()) == pytest.approx(1, abs=1e-9) and (w >= 0).all()
    assert (w[: n - 1] == 0).all() and float(w[-1]) == pytest.approx(
        n / 12_600, rel=1e-9
    )  # the best is drawn with chance n/N


def test_best_of_one_is_the_mean_and_best_of_all_is_the_best():
    p, g = torch.randn(3, 7, dtype=F64), torch.randn(3, 7, dtype=F64)
    got = curves.best_of_n(p, g, [1, 7], torch.ones(3, 7, dtype=torch.bool))
    torch.testing.assert_close(got[:, 0], g.mean(-1))
    torch.testing.assert_close(got[:, 1], g.gather(1, p.argmax(-1, keepdim=True))[:, 0])


def test_the_proxys_own_curve_rises():
    p = torch.randn(1, 40)
    own = curves.best_of_n(p, p, list(range(1, 41)), torch.ones(1, 40, dtype=torch.bool))[0]
    assert (own.diff() > 0).all()


def test_shares_are_the_curve_as_weights() -> None:
    proxy = torch.tensor(
        [[0.3, 0.1, 0.3, 0.9, -1.0], [1.0, 1.0, 1.0, 1.0, 2.0]], dtype=torch.float64
    )
    gold = torch.tensor(
        [[1.0, 5.0, 2.0, -3.0, 0.5], [1.0, 2.0, 3.0, 4.0, 9.0]], dtype=torch.float64
    )
    for n in (1, 2, 4, 5):
        shares = curves.best_of_n_shares(proxy, n)
        torch.testing.assert_close(shares.sum(-1), torch.ones(2, dtype=torch.float64))
        whole = curves.best_of_n(proxy, gold, [n], torch.ones_like(proxy, dtype=torch.bool))[:, 0]
        torch.testing.assert_close((shares * gold).sum(-1), whole)
        assert shares[0, 0] == shares[0, 2] and len(shares[1, :4].unique()) == 1
