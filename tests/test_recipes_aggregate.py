"""One word makes every online recipe pessimistic: it is the same run as the paper that has the
aggregate for its own.
"""

from __future__ import annotations

import inspect

import pytest
import torch
from small import small_world
from test_contract import MODULES, RECIPES, differences, drive, name

from assay.core import InputError, World
from assay.loops import aggregator, proxy_score


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(module("leave_one_out"))


def module(wanted: str):
    return next(m for m in MODULES if name(m) == wanted)


@pytest.mark.parametrize(
    ("word", "own", "constants"),
    [
        ("mean", "mean_ensemble", {}),
        ("worst", "worst_case", {}),
        ("uncertainty:0.5", "uncertainty_weighted", {"lam": 0.5}),
        ("quantile:0", "worst_case", {}),
        ("uncertainty:0", "mean_ensemble", {}),
    ],
)
def test_leave_one_out_with_a_word_is_the_paper_of_that_aggregate(world, word, own, constants):
    a, b = (
        drive(module("leave_one_out"), world, {"aggregate": word}),
        drive(module(own), world, constants),
    )
    keys = ("step", "gold", "kl", "proxy", "scored")
    assert (
        differences(
            [{k: r[k] for k in keys} for r in a], [{k: r[k] for k in keys} for r in b], 1e-6
        )
        == []
    )
    assert a[-2]["kl"] > 1e-6


@pytest.mark.parametrize("recipe", ["leave_one_out", "grpo", "ppo", "kl_in_reward", "kl_in_loss"])
def test_every_online_recipe_hears_it(world, recipe):
    one, worst = (drive(module(recipe), world, {"aggregate": word}) for word in ("", "worst"))
    assert one[-2]["proxy"] != worst[-2]["proxy"] and worst[-2]["scored"] == 3 * one[-2]["scored"]


def test_nobody_takes_one_without_the_other():
    takes = [m for m in RECIPES if "aggregate" in inspect.signature(m.recipe).parameters]
    assert len(takes) >= 5 and all(
        {"member", "members"} & set(inspect.signature(m.recipe).parameters) for m in takes
    )


def test_best_of_n_takes_the_same_words(world):
    """`uncertainty` is what `members` and `lam` say; `worst` is another sampler."""
    runs = [
        drive(module("best_of_n"), world, {"most": 8, **own})
        for own in ({"aggregate": "uncertainty:0.5"}, {"members": 0, "lam": 0.5}, {})
    ]
    golds = [[r["gold"] for r in run] for run in runs]
    assert golds[0] == golds[1] != golds[2]
    worst = drive(module("best_of_n"), world, {"most": 8, "aggregate": "worst"})
    assert worst[-2]["scored"] == runs[0][-2]["scored"]
    assert worst[-2]["proxy"] != runs[0][-2]["proxy"]


def test_the_control_subtracts_as_much_variance_elsewhere(world):
    """Of one member there is none to subtract; of several, another run."""
    recipe = module("uncertainty_weighted")
    one, mean = (
        drive(recipe, world, {"members": 1, "shuffled": True}),
        drive(module("mean_ensemble"), world, {"members": 1}),
    )
    assert [r["gold"] for r in one] == [r["gold"] for r in mean]
    own, other = (drive(recipe, world, {"lam": 2.0, "shuffled": s}) for s in (False, True))
    assert own[-2]["kl"] != other[-2]["kl"] and own[-2]["scored"] == other[-2]["scored"]


def test_one_judge_is_every_aggregate(world):
    alone = world.task.replaced(rewards=world.task.rewards.only([1]))
    x = alone.reference.sample(alone.prompts, 5, alone.rng("look"))
    for word in ("mean", "worst", "uncertainty:3", "quantile:0.5"):
        assert torch.equal(proxy_score(alone, aggregate=word)(x), proxy_score(alone)(x)), word


@pytest.mark.parametrize(
    "word",
    [
        "best",
        "worst:1",
        "quantile",
        "quantile:2",
        "uncertainty:-1",
        "uncertainty:x",
        "mean:",
        "uncertainty:inf",
    ],
)
def test_words_that_mean_nothing_are_refused(word):
    if word == "mean:":
        aggregator(word)  # an empty constant is none
        return
    with pytest.raises(InputError, match=r"--aggregate is"):
        aggregator(word)
