"""Studies of curves: best-of-n against enumeration, laws on exact curves, metrics and scaling on
small worlds.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from assay.core import InputError, World
from assay.recipes import best_of_n_theory, continuous_metrics, preference_scaling, scaling_fit
from assay.recipes.continuous_metrics import correlation, metrics, ranks
from assay.worlds import table


@pytest.fixture(scope="module")
def bandit() -> World:
    return table.world(testbed="bandit", prompts=6, responses=40, pairs=200, members=2, seed=3)


@pytest.fixture(scope="module")
def bag() -> World:
    return table.world(members=2, seed=3)


def test_best_of_n_by_counting_draws(bandit: World) -> None:
    said = list(best_of_n_theory.study(bandit, most=64))
    lines = [x for x in said if x.get("kind") != "spent"]
    assert [x["n"] for x in lines if x["reward"] == "score"] == [1, 2, 4, 8, 16, 32, 64]
    for x in lines:
        assert x["exact"] <= x["bound"] + 1e-9 and x["win_rate"] <= x["win_bound"] + 1e-9
        assert x["from_draws"] == pytest.approx(x["estimate"], abs=0.25)
    first = lines[0]
    assert first["exact"] == pytest.approx(0, abs=1e-12) and first["win_rate"] == pytest.approx(0.5)
    two = [x for x in lines if x["reward"] == "verdict"][-1]
    # two verdicts: a best of 64 is right for certain, and the KL cannot exceed −log π₀(right), here
    # about log 2
    assert (
        two["exact"] == pytest.approx(math.log(2), abs=0.1)
        and two["bound"] > 3
        and two["tied"] == pytest.approx(1)
    )
    assert two["estimate"] > two["exact"] + 1, "the estimator takes it that nothing ties"
    effect = best_of_n_theory.claim.effect
    assert effect is not None
    found: Any = effect({"study": said})
    assert found["within the bounds"] >= -1e-9
    assert found["nearer than the bound"] > 0 and found["nearer than shuffled"] > 0
    raised: Any = effect({"study": [{**x, "exact": x["bound"] + 0.1} for x in lines]})
    assert raised["within the bounds"] == pytest.approx(-0.1)


def test_the_win_rate_is_what_drawing_gives() -> None:
    p, reward = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.0, 1.0, 1.0]])
    won = torch.tensor([[0.25, 0.45, 0.3]])
    # by hand: the first wins never and ties with itself at ½·0.5; the others beat 0.5 and tie with
    # 0.5
    assert best_of_n_theory.win_rate(p, reward, won).tolist() == pytest.approx(
        [0.25 * 0.25 + 0.75 * (0.5 + 0.25)]
    )
    assert best_of_n_theory.tied(p, reward).tolist() == pytest.approx([0.5])
    assert best_of_n_theory.verdicts(
        torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[2.0, 0.0, 1.0]]), 2
    ).tolist() == [[1, 0, 0]]


def test_a_study_says_which_world_it_needs(bag: World, bandit: World) -> None:
    for study in (best_of_n_theory.study, continuous_metrics.study):
        with pytest.raises(InputError, match="--world.testbed bandit"):
            next(study(bag))
    with pytest.raises(InputError, match="five sizes"):
        next(preference_scaling.study(bandit, sizes=(10, 20)))
    with pytest.raises(InputError, match=r"--cut is 1\.0"):
        next(scaling_fit.study(bandit, cut=1.0))


@pytest.mark.parametrize("which", ["bag", "bandit"])
def test_laws_of_exact_curves(which: str, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue(which)
    lines = list(scaling_fit.study(world, pairs=(50, 800), widths=(4,), points=14, resamples=20))
    curves, trends = [x for x in lines if "beyond" in x], [x for x in lines if "trend_in" in x]
    assert [(x["optimiser"], x["pairs"]) for x in curves] == [
        (o, p) for p in (50, 800) for o in ("rl", "best-of-n")
    ]
    assert {x["trend_in"] for x in trends} == {"pairs"}
    for x in curves:
        assert x["d_max"] > 0.5 and x["true_r_peak"] >= 0 and x["beyond_others"] is not None
    more = {x["optimiser"]: x for x in curves if x["pairs"] == 800}["rl"]["true_r_peak"]
    assert more > {x["optimiser"]: x for x in curves if x["pairs"] == 50}["rl"]["true_r_peak"], (
        "data helps"
    )


def test_the_tilt_is_the_optimum_that_the_curve_claims(bag: World) -> None:
    policy: Any = bag.task.reference
    judge = scaling_fit.fitted(bag, policy, 200, 0)
    curve = scaling_fit.tilts(bag, policy, judge, 9)
    assert [d for d, _ in curve] == sorted(d for d, _ in curve) and curve[0][0] < 0.5 < 2 < curve[
        -1
    ][0]


def test_the_chain_of_metrics_by_hand() -> None:
    p = torch.tensor([[[0.1, 0.3, 0.2, 0.4]], [[0.4, 0.3, 0.2, 0.1]]], dtype=torch.float64)
    found = metrics(p, torch.tensor([[0, 1]]))
    assert found["log_p"][:, 0].tolist() == pytest.approx([math.log(0.1), math.log(0.4)])
    assert found["p_choices"][:, 0].tolist() == pytest.approx([0.25, 4 / 7])
    assert found["brier"][:, 0].tolist() == pytest.approx([-(0.75**2 + 0.75**2), -2 * (3 / 7) ** 2])
    assert found["accuracy"][:, 0].tolist() == [0, 1] and found["wrong"][
        :, 0
    ].tolist() == pytest.approx([0.3, 0.3])


def test_ranks_and_correlation() -> None:
    y = torch.tensor([[1.0], [3.0], [3.0], [9.0]], dtype=torch.float64)
    assert ranks(y)[:, 0].tolist() == [0.5, 2.0, 2.0, 3.5]
    still = torch.full((4, 1), 2.0, dtype=torch.float64)
    assert correlation(y, still).tolist() == [0.0] and correlation(y, -y).tolist() == pytest.approx(
        [-1.0]
    )


def test_a_family_sees_nested_data_and_follows_its_teacher(bandit: World) -> None:
    lines = {x["metric"]: x for x in continuous_metrics.study(bandit, scales=6)}
    assert set(lines) == {*continuous_metrics.CHAIN, "mass on the wrong choices"}
    assert lines["log_p"]["spearman"] == pytest.approx(lines["p"]["spearman"]), (
        "ranks do not see a monotone map"
    )
    assert lines["p"]["largest"] > lines["p"]["smallest"]
    teacher = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    models = continuous_metrics.family(
        teacher, torch.full_like(teacher, 1 / 3), 3, 4000, 1.0, bandit.task.rng("x")
    )
    assert torch.allclose(models[-1], teacher, atol=0.02) and torch.allclose(
        models.sum(-1), torch.ones_like(teacher[0, 0])
    )


def test_preference_scaling_tells_taste_from_error(bandit: World) -> None:
    lines = {
        x["suite"]: x
        for x in preference_scaling.study(
            bandit, sizes=(50, 100, 200, 400, 1600), widths=(512,), kinds=2000
        )
    }
    assert (
        lines["errors"]["accuracy"][-1] > 0.8
        and lines["errors"]["loss"][-1] < lines["errors"]["loss"][0] - 0.05
    )
    assert lines["facts"]["accuracy"][-1] > 0.75
    assert (
        abs(lines["taste"]["accuracy"][-1] - 0.5) < 0.03 and lines["taste"]["gain_over_chance"] < 0
    )
    for x in lines.values():
        assert (
            x["floor"] == pytest.approx(-(0.1 * math.log(0.1) + 0.9 * math.log(0.9)))
            and min(x["loss"]) > x["floor"]
        )
