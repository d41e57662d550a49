"""What the lines of a study of ensembles say, on lines whose answer is known."""

from __future__ import annotations

from typing import Any

import pytest

from assay.stats.ensembles import (
    at_most,
    gold_over_n,
    policy_gain,
    policy_growth,
    policy_readings,
    policy_rise,
)


def best(n: int, gold: float, count: float, aggregate: str = "mean") -> dict[str, Any]:
    said = {"ensemble": "pretrain", "aggregate": aggregate, "gold": gold, "count": count}
    return {"kind": "best_of_n", "n": n, **said}


def policy(ensemble: str, slope: float, far: float, growth: float = 0.0) -> list[dict[str, Any]]:
    """A policy whose gold rises by `slope`, and whose count by `growth`, for each √KL up to far."""
    places = [far * i / 4 for i in range(5)]
    said = {"kind": "rl", "ensemble": ensemble}
    return [
        {**said, "step": i, "kl": d * d, "gold": 1 + slope * d, "count": 20 + growth * d}
        for i, d in enumerate(places)
    ]


def test_one_completion_is_no_choice_and_other_aggregates_are_no_mean() -> None:
    lines = [best(1, 9.0, 1.0), best(2, 1.0, 2.0), best(4, 3.0, 5.0), best(4, 8.0, 8.0, "worst")]
    assert gold_over_n(lines, "pretrain") == 2.0
    assert at_most(lines) == {"pretrain": 5.0}


def test_a_policy_that_only_went_further_has_no_gain() -> None:
    """On one line of gold over √KL the end differs, gold at equal KL does not."""
    lines = policy("near", 2.0, 1.0) + policy("far", 2.0, 3.0) + policy("better", 2.5, 2.0)
    assert policy_readings(lines, "far")[-1]["gold"] > policy_readings(lines, "near")[-1]["gold"]
    assert policy_gain(lines, "far", "near") == pytest.approx(0, abs=1e-9)
    assert policy_gain(lines, "better", "near") == pytest.approx(0.25)  # .5·d, d from 0 to 1
    assert policy_gain(lines, "near", "better") == pytest.approx(-0.25)


def test_a_rise_is_above_the_reference_and_growth_is_of_the_count() -> None:
    lines, other = policy("one", 2.0, 2.0, growth=6.0), policy("one", -1.0, 1.0, growth=2.0)
    assert policy_rise(lines, "one") == pytest.approx(2.0)
    assert policy_rise(other, "one") == pytest.approx(-0.5)
    assert policy_growth(lines, other, "one") == pytest.approx(2.0)  # 4·d, d from 0 to 1
