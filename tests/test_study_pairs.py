"""Which pairs flip under DPO, and what its ranking accuracy could be."""

from __future__ import annotations

import pytest
import torch

from assay.core import InputError, Rng, World
from assay.recipes import ranking_accuracy
from assay.recipes.ranking_accuracy import foretells, idealised, thirds
from assay.rewards.simulated_labels import told
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


def test_dpo_is_told_by_one_rater_by_several_or_by_all() -> None:
    label, share = torch.tensor([1.0, 1.0]), torch.tensor([0.3, 0.9], dtype=torch.float64)
    assert torch.equal(told(label, share, 1, Rng(0)), label)
    assert torch.equal(told(label, share, 0, Rng(0)), share.float())
    assert torch.allclose(told(label, share, 4000, Rng(0)), share.float(), atol=0.03)


def test_what_is_judged_against_the_ideal_is_not_the_noise_of_single_raters(bag: World) -> None:
    """Whoever ranks all labels of single raters rightly is far below the ideal; all raters' not."""
    one, all_of_them = (
        next(ranking_accuracy.study(bag, betas=(0.1,), passes=6, raters=r)) for r in (1, 0)
    )
    assert one["memorised"] < one["idealised"] - 0.02 and all_of_them["memorised"] == 1.0
    assert all_of_them["held_out_loss"] < one["held_out_loss"]


def test_all_pairs_can_be_trained_on(bandit: World) -> None:
    line = next(ranking_accuracy.study(bandit, betas=(0.1,), passes=1, held_out=0.0))
    assert line["held_out_loss"] is None and line["loss"] > 0


@pytest.mark.full
def test_with_all_raters_more_passes_do_not_turn_the_share_that_flips(bag: World) -> None:
    few, many = (
        next(ranking_accuracy.study(bag, betas=(0.1,), passes=p, raters=0)) for p in (6, 30)
    )
    assert abs(few["flipped"] - many["flipped"]) < 0.1
    with pytest.raises(InputError, match="give 0 or more raters"):
        next(ranking_accuracy.study(bag, raters=-1))


def test_the_optimum_of_a_class_may_lie_below_the_ideal() -> None:
    """With 4 rare tokens counts cannot say what gold thinks of one of them; an arm each can."""
    bent = table.world(pairs=300, members=2, seed=3, vocabulary=16)
    apart = table.world(testbed="bandit", prompts=6, responses=30, pairs=120, members=2, seed=3)
    for w, least, most in ((bent, 0.04, 0.3), (apart, -0.01, 0.02)):
        line = next(ranking_accuracy.study(w, betas=(0.1,), raters=0, passes=1))
        assert least < line["idealised"] - line["class_optimum"] < most
        assert line["idealised_flipped"] > 0.5
