"""Studies of pairs: which flip, what raters say of themselves, what a risk model is worth."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch

from assay.core import InputError, World
from assay.formulas.noise import dawid_skene
from assay.recipes import label_noise, prompt_risk, ranking_accuracy
from assay.recipes.ranking_accuracy import foretells, idealised, thirds
from assay.worlds import table

PEOPLE = (
    Path(os.environ.get("ASSAY_DATA") or Path(__file__).parents[1] / "data")
    / "pandalm_three_raters.jsonl.gz"
)


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


def test_raters_find_their_own_errors_unless_they_copy(bag: World) -> None:
    lines = {x["raters"]: x for x in label_noise.study(bag, items=20000)}
    assert (
        lines["independent"]["closed_error"] < 0.02 < 0.035 < lines["independent"]["majority_error"]
    )
    assert lines["copying"]["closed_error"] > 3 * lines["independent"]["closed_error"]
    assert lines["independent"]["em_error"] == pytest.approx(
        lines["independent"]["closed_error"], abs=1e-3
    )
    assert abs(lines["independent"]["closed_win_rate"] - lines["independent"]["win_rate"]) < 0.03
    with pytest.raises(InputError, match="two error rates below 0.5"):
        next(label_noise.study(bag, rates=(0.1,)))


def test_real_votes_come_from_a_file_and_a_bad_row_is_named(bag: World, tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    truth = [i % 3 for i in range(600)]
    rows = [
        {"raters": [t if (7 * i + 3 * r) % 5 else (t + 1) % 3 for r in range(3)]}
        for i, t in enumerate(truth)
    ]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    lines = [
        x
        for x in label_noise.study(bag, items=200, raters=str(file))
        if str(x["raters"]).startswith("people")
    ]
    assert (
        len(lines) == 5 and lines[3]["items"] == 600 and sum(lines[3]["shares"]) == pytest.approx(1)
    )
    file.write_text('{"raters": [1, 2, 2]}\n{"raters": [1, 3, 2]}\n')
    with pytest.raises(InputError, match=r"row 2, column 'raters' holds \[1, 3, 2\]"):
        next(label_noise.study(bag, raters=str(file)))


@pytest.mark.real
@pytest.mark.skipif(
    not PEOPLE.exists(), reason=f"{PEOPLE.name} is not in data/ (or in $ASSAY_DATA)"
)
def test_people_who_labeled_the_same_pairs() -> None:
    votes = label_noise.read(PEOPLE)
    fit = dawid_skene(votes, classes=3)
    lines = list(label_noise.of_people(votes))
    assert (
        len(votes) == 999
        and all(0.9 < x["accuracy"] < 1 for x in lines[:3])
        and fit.confusion.shape == (3, 3, 3)
    )
    for seen, told in lines[3]["agreement_seen_and_fitted"]:
        assert seen == pytest.approx(told, abs=0.01)


def test_shares_are_fitted_by_their_likelihood() -> None:
    """One feature with two values: the fit is the logit of each value's share, by hand."""
    x = torch.tensor([[0.0]] * 4 + [[1.0]] * 4, dtype=torch.float64)
    share = torch.tensor([0.25] * 4 + [0.75] * 4, dtype=torch.float64)
    w = prompt_risk.logistic(x, share, 1e-4)
    assert w.tolist() == pytest.approx([2 * math.log(3), -math.log(3)], abs=1e-2)


def test_prompt_risk_is_over_optimised_and_distance_helps(bag: World) -> None:
    lines = list(prompt_risk.study(bag, most=256, asked=24))
    fits = {x["fit"]: x for x in lines if "fit" in x}
    assert fits["binomial"]["excess_log_score"] < fits["cut"]["excess_log_score"]
    free, kept = ([x for x in lines if x.get("choice") == c] for c in ("predicted", "penalised"))
    assert [x["predicted_risk"] for x in free] == sorted(
        (x["predicted_risk"] for x in free), reverse=True
    )
    assert (
        free[-1]["true_risk"] - free[-1]["predicted_risk"]
        > free[0]["true_risk"] - free[0]["predicted_risk"]
    )
    assert kept[-1]["distance"] < free[-1]["distance"] and kept[0]["true_risk"] == pytest.approx(
        free[0]["true_risk"]
    )
