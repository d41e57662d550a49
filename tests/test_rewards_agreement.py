"""How far members agree: by hand, and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from assay.formulas.aggregate import mean_minus_deviation
from assay.formulas.dependence import midranks, rank_correlation
from assay.rewards.agreement import between, error_agreement, favourites, rank_agreement, wins


def test_midranks_are_scipy_s_and_a_rank_sees_no_monotone_map() -> None:
    x = torch.tensor(np.random.default_rng(0).integers(0, 6, (5, 20)), dtype=torch.float64)
    assert np.allclose(midranks(x) * 20, rankdata(x, axis=-1) - 0.5)
    z = torch.randn(5, 20, dtype=torch.float64)
    assert rank_correlation(x, z).tolist() == pytest.approx(
        [spearmanr(a, b).statistic for a, b in zip(x, z, strict=True)]
    )
    assert torch.allclose(rank_correlation(z, z.exp()), torch.ones(5, dtype=torch.float64))
    assert rank_correlation(torch.ones(5, 20), z.float()).tolist() == [0] * 5


def test_mean_minus_deviation_by_hand() -> None:
    scores = torch.tensor([[[0.0, 2.0]], [[4.0, 2.0]]])
    assert mean_minus_deviation(scores).tolist() == [[0.0, 2.0]]
    assert mean_minus_deviation(scores, lam=0.5).tolist() == [[1.0, 2.0]]
    assert torch.equal(mean_minus_deviation(scores[:1]), scores[0]), "one member has no deviation"


def test_errors_of_the_same_and_of_strangers() -> None:
    gold = torch.randn(6, 200, dtype=torch.float64)
    noise = torch.randn(2, 6, 200, dtype=torch.float64)
    same = error_agreement(torch.stack([noise[0] + 2 * gold, 3 * noise[0] - gold]), gold)
    assert float(same[0, 1]) == pytest.approx(1, abs=1e-9), "any multiple of gold is no error"
    assert abs(float(error_agreement(noise + gold, gold)[0, 1])) < 0.1
    none = error_agreement(torch.stack([2 * gold, 2 * gold]), torch.zeros_like(gold))
    assert none.shape == (2, 2)


def test_only_pairs_within_a_group_count() -> None:
    table = torch.tensor([[9.0, 1.0, 2.0], [1.0, 9.0, 4.0], [2.0, 4.0, 9.0]])
    assert between(table, [[0, 1]]) == 1 and between(table, [[0, 1], [1, 2]]) == 2.5
    assert between(table, [[0, 1, 2]]) == pytest.approx(7 / 3)


def test_a_favourite_wins_by_itself_and_not_by_its_opposite() -> None:
    r = torch.randn(3, 4, 32, dtype=torch.float64)
    table = wins(r, torch.cat([r, -r[:1]]), 8)
    assert bool((table.diagonal() > 0.8).all()) and float(table[0, 3]) < 0.2
    assert float(table[0, 0]) + float(table[0, 3]) == pytest.approx(1)
    assert wins(r, r, 1).flatten().tolist() == pytest.approx([0.5] * 9), "one has no choice"
    assert rank_agreement(torch.stack([r[0], -r[0]]))[0].tolist() == pytest.approx([1, -1])


def test_favourites_are_the_best_of_their_own_run() -> None:
    proxy = torch.tensor([[0.0, 3.0, 1.0, 2.0, 9.0]])
    assert favourites(proxy, 2).tolist() == [[1, 3]], "the fifth has no partner"
