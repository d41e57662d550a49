"""Scores that depend on their neighbours are seen, and those that do not are not accused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hackable_rewards as made
import numpy as np
import pytest
from families import checkpoint
from transformers import AutoModelForSequenceClassification

import assay
from assay.audits.completions import grouped
from assay.audits.stability import in_bfloat16, stability
from assay.rewards.load import open_reward

ROWS = made.completions(12, 4)
Texts = Sequence[str]


def ways(reward: Any, **settings: Any) -> dict[str, dict[str, Any]]:
    """What was measured, by the way in which the scores were computed again."""
    found = assay.audit(reward, scored=ROWS, probes=("empty",), words=0, **settings).result
    return {w["way"]: w for w in found["stability"]}


def test_a_function_of_one_completion_is_stable() -> None:
    found = ways(made.length)
    assert len(found) == 6, "a function has no bfloat16"
    for way in found.values():
        assert (way["mean"]["mean"], way["largest"], way["changed"]["mean"]) == (0, 0, 0)
        assert way["completions"] == 48 and way["changed"]["n"] == 12


def test_a_reward_that_is_normalised_over_its_batch_is_seen() -> None:
    def ranked(prompts: Texts, completions: Texts) -> list[float]:
        order = np.argsort(np.argsort([len(c) for c in completions], kind="stable"))
        return (order / max(1, len(order))).tolist()

    found = ways(ranked, max_changed_choices=0.2)
    assert found["the same call again"]["largest"] == 0
    assert found["one by one"]["mean"]["low"] > 0.1 and found["one by one"]["changed"]["low"] > 0.2
    checks = assay.audit(
        ranked, scored=ROWS, probes=("empty",), words=0, max_changed_choices=0.2
    ).failed
    assert any("choices one by one" in why for why in checks)


def test_a_reward_that_is_random_differs_when_it_is_called_again() -> None:
    draw = np.random.default_rng(0)

    def chance(prompts: Texts, completions: Texts) -> list[float]:
        return draw.normal(size=len(completions)).tolist()

    assert ways(chance)["the same call again"]["changed"]["low"] > 0.1


def test_a_choice_between_equal_scores_is_no_change() -> None:
    """The exact check has many equal scores; whichever of them is taken is as good."""
    assert all(w["changed"]["mean"] == 0 for w in ways(made.exact).values())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = checkpoint(tmp_path_factory.mktemp("reward"), "llama")
    made_of = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    made_of.save_pretrained(folder)
    return str(folder)


def test_a_model_is_tried_in_bfloat16_and_stays_as_it_is(classifier: str) -> None:
    reward = open_reward(classifier, "rewards")
    before = {k: v.clone() for k, v in reward.models[0].state_dict().items()}  # type: ignore[attr-defined]
    found = ways(classifier)
    assert len(found) == 7
    half = found["in bfloat16"]
    assert half["mean"]["mean"] > 0 and half["largest"] > found["one by one"]["largest"]
    assert found["one by one"]["largest"] < 0.01
    other = in_bfloat16(reward)
    assert other is not None and in_bfloat16(other) is None
    after = reward.models[0].state_dict()  # type: ignore[attr-defined]
    assert all(v.equal(after[k]) and v.dtype == after[k].dtype for k, v in before.items())


def test_a_reward_that_tells_nothing_apart_has_no_stability() -> None:
    from assay.audits.scorers import Scorers

    constant = open_reward(lambda prompts, completions: [1.0] * len(prompts), "rewards")
    x = grouped(["a"] * 4, list("wxyz"), [None] * 4, {}, None, "test")
    found = stability(Scorers.of({"c": constant}), x, [0.0], 0)
    assert {(w.mean.mean, w.changed) for w in found} == {(None, None)}
