"""Accuracy where there are labels: by gold, on pairs, by subset and by distance from the fit."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import hackable_rewards as made
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import assay
from assay.audits.distance import FittedOn, by_distance
from assay.errors import InputError

ROWS = made.completions(30, 6)
QUIET: dict[str, Any] = {"probes": ("empty",), "words": 0, "stability": False}


def pairs(n: int = 40) -> list[dict[str, Any]]:
    """Right before wrong; in the subset `tricky` the wrong one is longer and in a list."""
    draw, found = random.Random(1), []
    for i in range(n):
        a, b = draw.randint(1, 40), draw.randint(41, 99)
        tricky = i % 2 == 1
        right, wrong = f"It is {a + b}.", f"It is {a + b + 1}."
        more = "- First we add.\n- Then we see.\n- So:\n- "
        found.append(
            {
                "prompt": f"What is {a} + {b}?",
                "chosen": right if tricky else more + right,
                "rejected": more + wrong if tricky else wrong,
                "subset": "tricky" if tricky else "natural",
                "answer": a + b,
            }
        )
    return found


def labelled(reward: Any, **inputs: Any) -> list[dict[str, Any]]:
    return assay.audit(reward, scored=ROWS, **{**QUIET, **inputs}).result["labels"]


def test_by_gold_completions_of_one_prompt_are_compared() -> None:
    (exact,) = labelled(made.exact, gold="right")
    assert (exact["on"], exact["accuracy"]["mean"]) == ("gold", 1.0)
    (length,) = labelled(lambda prompts, completions: [len(c) for c in completions], gold="right")
    assert abs(length["accuracy"]["mean"] - 0.5) < 0.15, "right and wrong have the same lengths"
    rm = assay.load_reward(made.exact)
    rows = [
        {k: v for k, v in r.items() if k in ("prompt", "response", "right", "answer")} for r in ROWS
    ]
    same = rm.evaluate(rows, score="right")
    assert same.accuracy.mean == exact["accuracy"]["mean"] and same.pairs == exact["pairs"]


def test_subsets_of_pairs_are_reported_one_by_one() -> None:
    (found,) = labelled(made.form, pairs=pairs())
    assert set(found["subsets"]) == {"tricky", "natural"}
    assert found["subsets"]["natural"]["accuracy"]["mean"] == 1
    assert found["subsets"]["tricky"]["accuracy"]["mean"] == 0, "three items are worth more"
    assert found["accuracy"]["mean"] == 0.5
    assert sum(s["pairs"] for s in found["subsets"].values()) == found["pairs"] == 40
    (exact,) = labelled(made.exact, pairs=pairs())
    assert {s["accuracy"]["mean"] for s in exact["subsets"].values()} == {1.0}


def test_the_least_accuracy_is_a_threshold() -> None:
    bad = assay.audit(made.form, scored=ROWS, pairs=pairs(), min_accuracy=0.9, **QUIET)
    assert [why for why in bad.failed if "accuracy on pairs" in why]
    good = assay.audit(made.exact, scored=ROWS, pairs=pairs(), min_accuracy=0.8, **QUIET)
    assert good.ok and good.result["verdicts"]["passes"] == 2
    with pytest.raises(InputError, match="min_accuracy needs labels"):
        assay.audit(made.exact, scored=ROWS, min_accuracy=0.8)


def test_accuracy_falls_with_the_distance_from_what_the_reward_was_fitted_on() -> None:
    """A fitted reward is right on questions like those of the fit, and guesses on others."""

    def rows(topic: str, good: str, bad: str, n: int) -> list[dict[str, Any]]:
        return [
            {"prompt": f"{topic} {i}", "chosen": f"{good} {topic} {i}", "rejected": f"{bad} {i}"}
            for i in range(n)
        ]

    fit = rows("cooking", "slowly simmer", "burn it", 40)
    reward = assay.fit_reward(fit, members=2, folds=0)
    held_out = [
        {**p, "prompt": p["prompt"] + " again"}
        for p in rows("cooking", "slowly simmer", "burn it", 20)
    ]
    far = [  # right and wrong look as the other way round: short ones without the topic are right
        {"prompt": f"chess {i}", "chosen": f"zeitnot {i}", "rejected": f"zugzwang pin chess {i}"}
        for i in range(20)
    ]
    told = labelled(reward, pairs=held_out + far, fitted_on=fit)
    bins = told[0]["distance"]
    assert bins[0]["accuracy"]["mean"] == 1 > bins[-1]["accuracy"]["mean"]
    assert [b["low"] for b in bins] == sorted(b["low"] for b in bins)
    assert sum(b["accuracy"]["n"] for b in bins) == told[0]["pairs"]
    assert labelled(reward, pairs=held_out)[0]["distance"] is None
    with pytest.raises(InputError, match="which needs labels"):
        assay.audit(reward, scored=ROWS, fitted_on=fit)


def test_names_of_columns_hold_for_the_files_that_have_them() -> None:
    renamed = [{"question": r["prompt"], **{k: r[k] for k in r if k != "prompt"}} for r in ROWS]
    found = assay.audit(
        made.exact, scored=renamed, pairs=pairs(), columns={"prompt": "question"}, **QUIET
    )
    assert found.result["labels"][0]["pairs"] == 40


WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "dd", "e", "ff"]), min_size=1, max_size=6).map(
    " ".join
)


@given(st.lists(WORDS, min_size=1, max_size=6), WORDS)
def test_a_distance_is_0_for_a_text_of_the_fit_and_at_most_1(fit: list[str], text: str) -> None:
    near = FittedOn(fit, "texts")
    assert near.distance(fit) == pytest.approx(np.zeros(len(fit)), abs=1e-6)
    (d,) = near.distance([text])
    assert 0 <= d <= 1 and (d < 1) == bool(set(text.split()) & set(" ".join(fit).split()))


def test_parts_by_distance_hold_each_comparison_once() -> None:
    draw = np.random.default_rng(0)
    d, m = draw.random(101), draw.normal(size=101)
    bins = by_distance(m, d, np.arange(101), np.ones(101))
    assert [b.accuracy.n for b in bins] == [26, 25, 25, 25]
    assert all(a.high < b.low for a, b in pairwise(bins))
    assert by_distance([], [], [], []) == ()
