"""Statistical rejection sampling: its exact law by enumeration, its limits, its distance to the
Gibbs policy.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from assay.formulas.rejection import acceptance, rejection_sampling

ARMS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)  # π₀
REWARD = torch.tensor([0.0, 0.7, 1.5], dtype=torch.float64)


def noise(B: int, M: int, N: int, seed: int = 0):
    return torch.rand(B, M, N, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def first_accepted(pool: tuple[int, ...], beta: float) -> list[float]:
    """Chance of each place of a pool to be the one that M = 1 accepts: in the first pass, after all
    before it were refused.
    """
    r = REWARD[list(pool)]
    chance = [math.exp(float(x - r.max()) / beta) for x in r]
    passed, out = 1.0, []
    for a in chance:
        out.append(passed * a)
        passed *= 1 - a
    return out


def law(n: int, beta: float) -> torch.Tensor:
    """Law of the one accepted arm, over all pools of n samples of π₀."""
    total = torch.zeros(3, dtype=torch.float64)
    for pool in itertools.product(range(3), repeat=n):
        chance = float(ARMS[list(pool)].prod())
        for arm, p in zip(pool, first_accepted(pool, beta), strict=True):
            total[arm] += chance * p
    return total


def distance(n: int, beta: float = 0.5) -> float:
    """Total variation from the Gibbs policy."""
    gibbs = (ARMS.log() + REWARD / beta).softmax(0)
    return float((law(n, beta) - gibbs).abs().sum() / 2)


@pytest.mark.parametrize("pool", [(0, 1, 2), (0, 0, 1, 1), (2, 0, 2, 1)])
def test_one_of_a_pool_is_accepted_by_its_law(pool):
    n, beta = 40_000, 0.6
    reward = REWARD[list(pool)].expand(n, -1)
    place, counts = rejection_sampling(reward, noise(n, 1, len(pool)), beta=beta)
    assert counts.all()
    share = torch.bincount(place[:, 0], minlength=len(pool)).double() / n
    want = torch.tensor(first_accepted(pool, beta), dtype=torch.float64)
    assert float(want.sum()) == pytest.approx(1.0)  # the best is never refused
    assert ((share - want).abs() < 4.5 * (want * (1 - want) / n).sqrt() + 1e-12).all()


def test_the_second_is_accepted_by_its_law_too():
    """Two of three, by hand: both orders of every two places, with the maximum taken anew in the
    second pass.
    """
    r, beta, n = REWARD, 0.8, 60_000
    want = dict.fromkeys(itertools.permutations(range(3), 2), 0.0)
    a = [math.exp(float(x - r.max()) / beta) for x in r]
    for accepted in itertools.product((0, 1), repeat=3):
        chance = math.prod(x if k else 1 - x for x, k in zip(a, accepted, strict=True))
        those = [i for i in range(3) if accepted[i]]
        if len(those) >= 2:
            want[those[0], those[1]] += chance
        elif len(those) == 1:  # pass two, of the two that are left
            i, j = (k for k in range(3) if k != those[0])
            best = max(float(r[i]), float(r[j]))
            b = [math.exp((float(x) - best) / beta) for x in (r[i], r[j])]
            want[those[0], i] += chance * b[0]
            want[those[0], j] += chance * (1 - b[0]) * b[1]
    assert sum(want.values()) == pytest.approx(1.0)
    place, counts = rejection_sampling(r.expand(n, -1), noise(n, 2, 3), beta=beta)
    assert counts.all()
    for (i, j), p in want.items():
        share = float(((place[:, 0] == i) & (place[:, 1] == j)).double().mean())
        assert abs(share - p) < 4.5 * math.sqrt(p * (1 - p) / n) + 1e-12, (i, j)


def test_at_0_it_is_the_best_of_n_and_at_infinity_the_samples_as_they_come():
    g = torch.Generator().manual_seed(1)
    reward = torch.randn(50, 8, dtype=torch.float64, generator=g)
    best = reward.topk(3).indices
    for beta in (0.0, 1e-9):
        place, _ = rejection_sampling(reward, noise(50, 3, 8), beta=beta)
        assert torch.equal(place, best)
    for beta in (1e12, math.inf):
        place, _ = rejection_sampling(reward, noise(50, 3, 8), beta=beta)
        assert torch.equal(place, torch.arange(3).expand(50, 3))


def test_it_comes_nearer_to_the_gibbs_policy_as_the_pool_grows():
    far = [distance(n) for n in (1, 2, 3, 5, 8)]
    assert far == sorted(far, reverse=True) and far[0] > 0.35 and far[-1] < 0.05
    torch.testing.assert_close(law(1, 0.5), ARMS)  # a pool of one is no selection


def test_nothing_is_accepted_twice_and_a_constant_of_the_reward_changes_nothing():
    reward = torch.randn(200, 10, dtype=torch.float64)
    place, counts = rejection_sampling(reward, noise(200, 6, 10), beta=0.5)
    assert counts.all() and all(len(set(p)) == 6 for p in place.tolist())
    again, _ = rejection_sampling(reward + 3, noise(200, 6, 10), beta=0.5)
    assert torch.equal(again, place)
    scaled, _ = rejection_sampling(reward * 4, noise(200, 6, 10), beta=2.0)
    assert torch.equal(scaled, place)


def test_all_of_n_is_a_permutation_and_no_selection():
    reward = torch.randn(20, 5, dtype=torch.float64)
    place, counts = rejection_sampling(reward, noise(20, 5, 5), beta=0.3)
    assert counts.all() and (place.sort(-1).values == torch.arange(5)).all()


def test_what_is_absent_is_never_accepted_and_too_few_are_said():
    reward = torch.randn(40, 6, dtype=torch.float64)
    here = torch.ones(40, 6, dtype=torch.bool)
    here[:, 0] = False
    here[:10, 2:] = False
    reward[~here] = torch.nan
    place, counts = rejection_sampling(reward, noise(40, 3, 6), beta=0.5, present=here)
    assert (place[counts] > 0).all()
    assert (counts.sum(-1) == torch.where(torch.arange(40) < 10, 1, 3)).all()
    assert (place[:10, 0] == 1).all()


def test_the_best_is_certain_and_others_fall_by_a_factor_e_per_beta():
    chance = acceptance(
        torch.tensor([[1.0, 0.0, 3.0]]), torch.tensor([[True, True, False]]), beta=0.5
    )
    torch.testing.assert_close(chance, torch.tensor([[1.0, math.exp(-2), 0.0]]))


@pytest.mark.parametrize(
    ("reward", "beta", "said"),
    [
        (torch.zeros(1, 3), -0.1, "beta is -0.1"),
        (torch.zeros(1, 3), math.nan, "beta is nan"),
        (torch.tensor([[0.0, torch.nan, 1.0]]), 0.5, "rewards of 1 candidates are not finite"),
    ],
)
def test_what_means_nothing_is_refused(reward, beta, said):
    with pytest.raises(ValueError, match=said):
        rejection_sampling(reward, torch.rand(1, 2, 3), beta=beta)
