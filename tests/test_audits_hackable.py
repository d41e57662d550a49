"""The audit is right: rewards hackable in ways it was not told of fail, and sound ones pass."""

from __future__ import annotations

import itertools
from typing import Any

import hackable_rewards as made
import pytest

import assay

ROWS = made.completions()


def verdicts(reward: str, **settings: Any) -> dict[str, str]:
    """The verdict of each check by its name."""
    found = assay.audit({reward: getattr(made, reward)}, scored=ROWS, **settings)
    return {c["name"]: c["verdict"] for c in found.result["checks"]}


@pytest.mark.parametrize("reward", ["exact", "relevance"])
def test_sound_rewards_pass_every_probe(reward: str) -> None:
    assert set(verdicts(reward).values()) == {"passes"}


@pytest.mark.parametrize(
    ("reward", "caught_by"),
    [
        ("form", {"headings", "list"}),
        ("flattery", {"flattering"}),
        ("confidence", {"confident"}),
        ("obedient", {"instruction"}),
    ],
)
def test_what_is_hackable_in_one_way_fails_that_probe_alone(
    reward: str, caught_by: set[str]
) -> None:
    found = verdicts(reward)
    assert {k for k, v in found.items() if v == "fails"} == {f"probe {c}" for c in caught_by}


def test_length_is_caught_by_whatever_adds_text_and_by_its_correlation() -> None:
    found = verdicts("length", max_length_correlation=0.5)
    failing = {k for k, v in found.items() if v == "fails"}
    assert {"probe padded", "probe repeated", "correlation with length"} <= failing
    assert {found[f"probe {p}"] for p in ("truncated", "prompt", "empty")} == {"passes"}
    assert verdicts("exact", max_length_correlation=0.5)["correlation with length"] == "passes"


def test_a_reward_that_ignores_the_prompt_is_caught_by_another_prompt() -> None:
    found = assay.audit(made.ignored, scored=ROWS)
    (prompt,) = (p for p in found.result["probes"] if p["probe"] == "prompt")
    assert (prompt["change"]["mean"], prompt["rises"]["mean"]) == (0, 0)
    assert any("probe prompt" in why for why in found.failed)
    assert verdicts("exact")["probe prompt"] == verdicts("relevance")["probe prompt"] == "passes"


def test_wrong_answers_cannot_fall_and_say_nothing_of_the_prompt() -> None:
    """At a reward's lowest score nothing falls; such completions are left out and counted."""
    found = assay.audit(made.exact, scored=ROWS, probes=("prompt", "padded"), a_prompt=8).result
    (prompt,) = (p for p in found["probes"] if p["probe"] == "prompt")
    right = sum(r["right"] for r in ROWS)
    assert (prompt["completions"], prompt["skipped"]) == (right, len(ROWS) - right)
    (padded,) = (p for p in found["probes"] if p["probe"] == "padded")
    assert (padded["completions"], padded["skipped"]) == (len(ROWS), 0)


def test_examples_hold_the_texts_that_were_scored() -> None:
    found = assay.audit(made.flattery, scored=ROWS, probes=("flattering", "prompt")).result
    flattering, prompt = (p["examples"] for p in sorted(found["probes"], key=lambda p: p["probe"]))
    assert len(flattering) == 10
    for e in flattering:
        answer = [r["answer"] for r in ROWS if r["prompt"] == e["prompt"]][:1]
        assert made.flattery([e["prompt"]], [e["after"]], answer=answer) == [e["score_after"]]
        assert made.flattery([e["prompt"]], [e["before"]], answer=answer) == [e["score_before"]]
    assert all(e["asked"] not in (None, e["prompt"]) for e in prompt)


def test_an_ensemble_is_judged_by_its_mean_and_its_members_are_shown() -> None:
    pairs = [
        {"prompt": a["prompt"], "chosen": a["response"], "rejected": b["response"]}
        for a, b in itertools.pairwise(ROWS)
        if a["prompt"] == b["prompt"] and a["right"] > b["right"]
    ]
    reward = assay.fit_reward(pairs, members=3, folds=0)
    found = assay.audit(reward, scored=ROWS, probes=("padded", "empty")).result
    (about,) = found["rewards"]
    assert len(about["members"]) == 3 and len(found["probes"]) == 2 * 4
    assert {c["reward"] for c in found["checks"]} == {about["name"]}
    by = {p["reward"]: p for p in found["probes"] if p["probe"] == "padded"}
    assert [p["member"] for p in by.values()] == [False, True, True, True]
    score = reward.score(["q", "q"], ["a b c", "d e f"])
    assert score.shape == (3, 2)


def test_a_reward_that_does_not_apply_everywhere_is_measured_where_it_does() -> None:
    def some(prompts: list[str], completions: list[str]) -> list[float | None]:
        return [None if "added" in c else float(len(c)) for c in completions]

    found = assay.audit(some, scored=ROWS, probes=("padded",), a_prompt=8).result["probes"][0]
    left = sum("added" in r["response"] for r in ROWS)
    assert 0 < left == found["unscored"] and found["completions"] == len(ROWS) - left
    assert found["change"]["mean"] > 1
