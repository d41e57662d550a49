"""The rule of judgement: each verdict, each refusal, and what does not change a verdict."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from assay.evidence import rule, spending
from assay.formulas.confidence import student
from assay.stats.intervals import bounds, detectable

GOOD, BAD, EVEN = (
    [1.0, 1.1, 0.9, 1.2, 1.0],
    [-1.0, -1.1, -0.9, -1.2, -1.0],
    [1.0, -1.1, 0.9, -1.2, 0.1],
)
EQUAL = {a: {k: [8.0] * 5 for k in spending.SPENT} for a in ("mine", "single")}


def result(effects: list[Any], drops: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """A result of a claim that is well made, unless `more` says otherwise."""
    seeds = list(range(100, 100 + len(effects)))
    return {
        "name": "mine",
        "title": "T",
        "world": {"name": "table"},
        "turns": None if drops is None else "single",
        "least": 0.0,
        "numbered": seeds,
        "control": [""],
        "seeds": seeds,
        "effects": effects,
        "drops": drops or [],
        "notes": ["seed 0: no overlap"],
        "spent": EQUAL,
        **more,
    }


@pytest.mark.parametrize(
    ("found", "verdict", "why"),
    [
        (result(GOOD), rule.HOLDS, "the interval lies above δ = 0"),
        (result(EVEN), rule.UNDECIDED, "the interval covers δ = 0"),
        (result(BAD), rule.FAILS, "the interval lies below δ = 0"),
        (result(EVEN, least=2.0), rule.FAILS, "below δ = 2"),
        (result(GOOD, least=2.0), rule.FAILS, "below δ = 2"),
        (result(GOOD, least=1.0), rule.UNDECIDED, "covers δ = 1"),
        (result(GOOD, [0.5, 0.6, 0.4, 0.5, 0.5]), rule.HOLDS, "the baseline falls by 0.500"),
        (result(GOOD, [0.5, -0.6, 0.4, -0.5, 0.1]), rule.UNDECIDED, "does not visibly turn"),
        (result(GOOD, [0.5, 0.6, 0.4, 0.5, None]), rule.NONE, "seed 0: no overlap"),
        (result([*GOOD[:4], None]), rule.NONE, "seed 0: no overlap"),
        (result(GOOD, least=None), rule.NONE, "no smallest effect of interest"),
        (
            {k: v for k, v in result(GOOD).items() if k != "numbered"},
            rule.NONE,
            "before its file stated δ and seeds; run it again",
        ),
        (result(GOOD, numbered=[]), rule.NONE, "numbers no seeds"),
        (result(GOOD[:4]), rule.NONE, "numbers 4 seeds and 5 are the least"),
        (result(GOOD, control=[]), rule.NONE, "no negative control"),
        (result(GOOD, spent={}), rule.NONE, "what its arms spent is not said"),
        (
            result(GOOD, spent={**EQUAL, "other": {}}),
            rule.NONE,
            "what other spent is not said",
        ),
        (
            result(GOOD, spent={"mine": EQUAL["mine"]}),
            rule.NONE,
            "what its rival spent is not said",
        ),
        (
            result(GOOD, numbered=list(range(100, 110))),
            rule.NONE,
            "5 of its 10 numbered seeds were not run, such as 105",
        ),
    ],
)
def test_each_verdict(found: dict[str, Any], verdict: str, why: str) -> None:
    row = rule.judged(found)
    assert row["verdict"] == verdict
    assert why in row["why"]


@pytest.mark.parametrize(
    ("parts", "verdict", "decides"),
    [
        ((GOOD, GOOD), rule.HOLDS, "one"),
        ((GOOD, EVEN), rule.UNDECIDED, "two"),
        ((EVEN, BAD), rule.FAILS, "two"),
        ((GOOD, BAD), rule.FAILS, "two"),
    ],
)
def test_a_claim_of_parts_holds_if_all_do_and_fails_if_one_does(
    parts: tuple[list[float], ...], verdict: str, decides: str
) -> None:
    effects = [dict(zip(("one", "two"), e, strict=True)) for e in zip(*parts, strict=True)]
    row = rule.judged(result(effects, control=["two"]))
    assert row["verdict"] == verdict and f"of its 2 parts “{decides}” decides" in row["why"]
    assert row["effect"] == pytest.approx(sum(parts[("one", "two").index(decides)]) / 5)
    assert [p["role"] for p in row["parts"]] == ["effect", "control"]


def test_parts_cover_all_at_once() -> None:
    """Each of four parts has the interval at 1 − 0.05/4."""
    effects = [dict.fromkeys("abcd", x) for x in GOOD]
    row = rule.judged(result(effects, control=["a"]))
    mean, low, high = bounds(GOOD, 1 - 0.05 / 4)
    assert all((p["mean"], p["low"], p["high"]) == (mean, low, high) for p in row["parts"])


def test_a_premise_that_does_not_hold_refutes_nothing() -> None:
    def of(premise: list[float], rest: list[float]) -> dict[str, Any]:
        effects = [{"harm": a, "gain": b} for a, b in zip(premise, rest, strict=True)]
        return rule.judged(result(effects, control=["gain"], premises=["harm"]))

    assert of(GOOD, BAD)["verdict"] == rule.FAILS
    assert of(GOOD, GOOD)["verdict"] == rule.HOLDS
    for unmet in (BAD, EVEN):
        row = of(unmet, GOOD)
        assert row["verdict"] == rule.UNDECIDED and "its premise “harm” is not seen" in row["why"]


def test_the_same_truth_gets_the_same_verdict_at_any_number_of_seeds() -> None:
    """An effect of half of δ does not hold at 10 seeds, at 80 and at 800."""
    draws = torch.randn(800, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    effects = (0.5 + 0.1 * draws).tolist()
    for n in (10, 80, 800):
        assert rule.judged(result(effects[:n], least=1.0))["verdict"] == rule.FAILS
        assert rule.judged(result(effects[:n], least=0.2))["verdict"] == rule.HOLDS


def test_a_claim_that_was_extended_says_so_and_has_a_wider_interval() -> None:
    effects = GOOD * 3
    seen = rule.judged(result(effects))
    more = rule.judged(result(effects, numbered=list(range(100, 105))))
    assert not seen["extended"] and more["extended"]
    assert "looked at after 5 seeds and extended to 15" in more["why"]
    assert more["parts"][0]["low"] < seen["parts"][0]["low"]
    width = [r["parts"][0]["high"] - r["parts"][0]["low"] for r in (more, seen)]
    sees = [r["parts"][0]["sees"] - r["parts"][0]["least"] for r in (more, seen)]
    assert sees[0] / sees[1] == pytest.approx(width[0] / width[1])  # a wider one sees less
    assert "--seeds 100..114" in more["command"] and "--seeds" not in seen["command"]


def test_an_interval_at_any_time_is_not_fooled_by_looking() -> None:
    """Of 400 sequences of normal numbers with mean 0, looked at after each of 200, fewer than 5 %
    ever exclude 0 (four standard errors given), where Student's interval does so in most.
    """
    draws = torch.randn(400, 200, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    fooled = naive = 0
    for x in draws:
        looks = [student(x[:n], alpha=0.05) for n in range(2, 201)]
        fooled += any(low > 0 or high < 0 for low, high in looks)
        each = [bounds(x[:n].tolist()) for n in range(3, 201)]
        naive += any(low > 0 or high < 0 for _, low, high in each)  # type: ignore[operator]
    assert fooled / 400 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 400)
    assert naive / 400 > 0.3


def test_an_interval_at_any_time_knows_no_unit() -> None:
    """Shifted and scaled outcomes have the shifted and scaled interval."""
    x = torch.tensor(GOOD * 2, dtype=torch.float64)
    low, high = student(x, alpha=0.05)
    assert student(3 * x - 7, alpha=0.05) == pytest.approx((3 * low - 7, 3 * high - 7))
    assert student(x[:2], alpha=0.05) == (-math.inf, math.inf)


def test_what_is_detectable_is_detected_in_four_of_five_experiments() -> None:
    shift = detectable(1.0, 8)
    draws = torch.randn(4000, 8, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    seen = sum(bounds((d + shift).tolist())[1] > 0 for d in draws)  # type: ignore[operator]
    assert seen / 4000 == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 4000))


@pytest.mark.parametrize("what", spending.SPENT)
def test_arms_that_spend_unequally_get_no_verdict_unless_the_claim_names_it(what: str) -> None:
    spent = {**EQUAL, "mine": {**EQUAL["mine"], what: [17.0] * 5}}
    row = rule.judged(result(GOOD, spent=spent))
    assert row["verdict"] == rule.NONE
    assert f"mine spends 17 {what} and single 8" in row["why"]
    named = rule.judged(result(GOOD, spent=spent, differs={what: "because"}))
    assert named["verdict"] == rule.HOLDS and named["differs"] == {what: "because"}
    within = {**EQUAL, "mine": {**EQUAL["mine"], what: [8.3] * 5}}
    assert rule.judged(result(GOOD, spent=within))["verdict"] == rule.HOLDS


def test_nothing_against_something_is_unequal_but_noise_in_seconds_is_not() -> None:
    spent = {**EQUAL, "mine": {**EQUAL["mine"], "labels": [0.0] * 5}}
    assert "labels" in rule.judged(result(GOOD, spent=spent))["why"]
    noisy = {**EQUAL, "mine": {**EQUAL["mine"], "seconds": [4.0, 20.0, 9.0, 14.0, 6.0]}}
    assert rule.judged(result(GOOD, spent=noisy))["verdict"] == rule.HOLDS


def test_a_study_says_itself_what_it_spent() -> None:
    line = {"kind": "spent", "arm": "a", "labels": 4}
    found = spending.spent("study", [{"kind": "x"}, line, {**line, "arm": "b", "labels": 9}])
    assert {a: c["labels"] for a, c in found.items()} == {"a": 4.0, "b": 9.0}
    assert spending.spent("study", [{"kind": "x"}]) == {}
