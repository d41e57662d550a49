"""Which pairs flip under DPO, and what its ranking accuracy could be."""

from __future__ import annotations

import pytest
import torch

from assay.core import InputError, World
from assay.recipes import ranking_accuracy
from assay.recipes.ranking_accuracy import foretells, idealised, thirds
from assay.worlds import table


@pytest.fixture(scope="module")
def bandit() -> World:
    return table.world(testbed="bandit", prompts=6, responses=30, pairs=120, members=2, seed=3)


@pytest.fixture(scope="module")
def bag() -> World:
    return table.world(pairs=200, members=2, seed=3)


def test_the_optimum_of_dpo_ranks_as_the_idealised_accuracy_says() -> None:
    """Two answers, endless labels of share a: the optimum is π ∝ π₀·(a, 1−a)^(1/β), by hand."""
    winner, loser = torch.tensor([0.2]).log(), torch.tensor([0.6]).log()
    for beta, a in ((1.0, 0.7), (1.0, 0.8), (0.1, 0.6), (0.1, 0.51)):
        optimum = 0.2 * a ** (1 / beta) > 0.6 * (1 - a) ** (1 / beta)
        assert idealised(winner, loser, torch.tensor([a]), beta=beta).tolist() == [optimum]


def test_the_released_script_is_wrong_about_a_likelier_loser() -> None:
    """ℓ_w = −10, ℓ_l = −5, a just above a half: the loser is e⁵ times likelier and stays so; −10/−5
    = 2 says otherwise.
    """
    pair = torch.tensor([-10.0]), torch.tensor([-5.0]), torch.tensor([0.5001])
    assert idealised(*pair, beta=1.0).tolist() == [False]
    assert idealised(*pair, beta=1.0, released=True).tolist() == [True]


def test_a_pair_flips_if_and_only_if_its_loss_says_so() -> None:
    delta, c = torch.randn(200, dtype=torch.float64), torch.randn(200, dtype=torch.float64)
    assert torch.equal(foretells(delta, c, 0.1), delta > c)
    # of four wrong pairs, sorted by c: True False | True | False
    assert thirds(
        torch.tensor([False, True, True, False, True]),
        torch.tensor([3.0, 1.0, 2.0, 1.5, -1.0]),
        torch.tensor([True, True, True, True, False]),
    ) == [0.5, 1.0, 0.0]


def test_dpo_flips_where_answers_stand_alone_and_little_where_they_share(
    bag: World, bandit: World
) -> None:
    said = list(ranking_accuracy.study(bandit, betas=(0.05, 5.0), passes=3))
    apart = [x for x in said if x.get("kind") != "spent"]
    shared = next(ranking_accuracy.study(bag, betas=(0.1,), passes=2))
    assert all(x["identity_holds"] and x["flipped"] == x["foretold"] for x in [*apart, shared])
    assert apart[0]["flipped"] > apart[1]["flipped"] and apart[0]["kl"] > apart[1]["kl"], (
        "a low price moves more"
    )
    assert shared["flipped"] < 0.5 < apart[0]["flipped"]
    assert (
        next(ranking_accuracy.study(bandit, betas=(0.1,), passes=1, spread=0.0))["wrong"]
        < apart[0]["wrong"]
    )
    with pytest.raises(InputError, match="each must be above 0"):
        next(ranking_accuracy.study(bandit, betas=(0.0,)))
