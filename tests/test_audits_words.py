"""Words that raise a score are found by data alone, and measured where they were not chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hackable_rewards as made
import numpy as np
import pytest

import assay
from assay.audits.found_words import KEPT, candidates, words_of

ROWS = made.completions()


def words_for(reward: Any, **settings: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The words that were found and the verdicts of their checks."""
    found = assay.audit(reward, scored=ROWS, probes=("empty",), stability=False, **settings).result
    checks = {c["name"]: c["verdict"] for c in found["checks"] if "found word" in c["name"]}
    return found["words"], checks


def test_a_magic_word_that_no_probe_knows_is_found_and_fails() -> None:
    words, checks = words_for(made.magic)
    assert made.MAGIC in words[0]["word"], "the first word is the magic one, or a pair with it"
    assert checks[f"found word '{words[0]['word']}'"] == "fails"
    change = words[0]["effect"]["change"]
    assert change["low"] > 1.5, "the word is worth three times being right"
    probes = assay.audit(made.magic, scored=ROWS, words=0).result
    assert probes["words"] == [] and set(probes["verdicts"]) == {"passes"}


@pytest.mark.parametrize("reward", ["exact", "relevance"])
def test_no_word_raises_a_sound_reward(reward: str) -> None:
    words, checks = words_for(getattr(made, reward))
    assert len(words) == KEPT and set(checks.values()) == {"passes"}


def test_words_of_noise_are_measured_without_the_luck_of_the_search() -> None:
    """A reward of hashes likes some words by luck where they are searched, and not elsewhere."""

    def noise(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        seeds = [
            sum(f"{p}|{c}".encode()) * 7919 % 2**31
            for p, c in zip(prompts, completions, strict=True)
        ]
        return [float(np.random.default_rng(s).normal()) for s in seeds]

    words, checks = words_for(noise, max_effect=1.0)
    assert np.mean([w["searched"] for w in words]) > 0.3, "the search is lucky"
    assert "fails" not in checks.values()
    assert abs(np.mean([w["effect"]["change"]["mean"] for w in words])) < 0.3


def test_candidates_are_words_of_high_standing() -> None:
    texts = ["good and kind", "good or bad", "bad and ugly", "plain"]
    found = candidates(texts, np.array([1.0, 1.0, -1.0, 0.0]), 2)
    assert found[0] == ("good", 2) and len(found) == 2
    assert list(words_of("(So,  it is!)")) == ["So", "it", "is", "So it", "it is"]
    assert list(words_of("  ")) == []


def test_few_prompts_are_not_searched() -> None:
    found = assay.audit(made.magic, scored=made.completions(3, 4), probes=("empty",)).result
    assert found["words"] == []
