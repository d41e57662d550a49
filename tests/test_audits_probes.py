"""Probes and what they are measured by: laws of the texts, of the unit and of the intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.audits import probes
from assay.audits.checks import of_probe, verdict
from assay.audits.completions import grouped
from assay.audits.effects import (
    correlation_within,
    effect_of,
    examples_of,
    within_deviation,
    within_sums,
)
from assay.errors import InputError
from assay.stats.jackknife import Interval, jackknifed

TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
DRAW = np.random.default_rng


@given(TEXTS)
def test_probes_of_any_text_are_texts_and_depend_on_it_alone(text: str) -> None:
    for probe in probes.PROBES:
        changed = probe.change(text)
        assert changed == probe.change(text)
        assert changed is None or isinstance(changed, str)
        if not text.strip():
            assert changed is None, f"{probe.name} changes nothing into something"


@given(TEXTS)
def test_what_a_probe_adds_or_takes_is_what_it_says(text: str) -> None:
    by = {p.name: p.change(text) for p in probes.PROBES}
    if text.strip():
        padded, language = by["padded"], by["language"]
        assert padded is not None and padded.startswith(text) and len(padded) >= 2 * len(text)
        assert language is not None and len(language) >= len(text)
        assert by["empty"] == "" and by["prompt"] == text
        assert by["repeated"] is not None and by["repeated"].count(text) >= 2
        for name in ("confident", "flattering"):
            assert str(by[name]).endswith(text) and len(str(by[name])) > len(text)
        assert str(by["instruction"]).startswith(text)
    if (short := by["truncated"]) is not None:
        assert text.startswith(short) and len(short.split()) == len(text.split()) // 2


@given(st.lists(st.sampled_from(["It is so.", "Why not?", "Two words here!"]), min_size=2))
def test_markdown_is_made_of_the_completion_s_own_words(parts: list[str]) -> None:
    text = " ".join(parts)
    items = probes.as_list(text)
    assert items is not None and items.splitlines() == [f"- {p}" for p in parts]
    headed = probes.with_headings(text)
    assert headed is not None and set(headed.replace("#", "").split()) - set(text.split()) <= {
        w.rstrip(".?!") for w in text.split()
    }


def test_a_list_is_not_made_again() -> None:
    assert probes.as_list("- One.\n- Two.") is None and probes.as_list("One.") is None


def test_probes_are_chosen_by_name() -> None:
    assert len(probes.chosen()) == len(probes.PROBES) == 11
    with pytest.raises(InputError, match="'paded', and there is no such probe; did you mean"):
        probes.chosen(["paded"])


def scores(seed: int, G: int = 30, n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    group = np.repeat(np.arange(G), n)
    level = DRAW(seed).normal(0, 5, G)[group]  # prompts differ far more than completions do
    return level + DRAW(seed + 1).normal(0, 2, G * n), group


def test_the_unit_is_the_deviation_within_prompts() -> None:
    s, group = scores(0, G=4000)
    assert within_deviation(within_sums(s, group, 4000)) == pytest.approx(2, rel=0.03)
    by_hand = np.concatenate([s[group == g] - s[group == g].mean() for g in range(4000)])
    assert within_deviation(within_sums(s, group, 4000)) == pytest.approx(
        np.sqrt((by_hand**2).sum() / (4000 * 3))
    )


def test_an_effect_has_no_units_of_the_reward() -> None:
    """A reward times 3 plus a constant of each prompt has the same effects."""
    s, group = scores(1)
    after = s + DRAW(2).normal(1, 0.5, len(s))
    shift = DRAW(3).normal(0, 100, 30)[group]
    one = effect_of(s, after, group, within_sums(s, group, 30))
    other = effect_of(
        3 * s + shift, 3 * after + shift, group, within_sums(3 * s + shift, group, 30)
    )
    for end in ("mean", "low", "high"):
        assert getattr(one.change, end) == pytest.approx(getattr(other.change, end))
    assert one.rises == other.rises


def test_missing_scores_are_counted_and_change_nothing_else() -> None:
    s, group = scores(4)
    after = s + 1
    some = after.copy()
    some[::4] = np.nan
    found = effect_of(s, some, group, within_sums(s, group, 30))
    whole = effect_of(s, after, group, within_sums(s, group, 30))
    assert (found.completions, found.unscored) == (90, 30)
    assert found.change.mean == pytest.approx(whole.change.mean)
    keep = np.arange(len(s)) % 4 > 0
    left = effect_of(s, after, group, within_sums(s, group, 30), usable=keep)
    assert (left.skipped, left.unscored, left.completions) == (30, 0, 90)


def test_a_reward_that_tells_nothing_apart_has_no_effect_and_no_verdict() -> None:
    s, group = np.ones(40), np.repeat(np.arange(10), 4)
    found = effect_of(s, s + 1, group, within_sums(s, group, 10))
    assert found.change.mean is None
    padded = probes.chosen(["padded"])[0]
    check = of_probe(padded, "r", found.change, max_effect=0.5, min_fall=0.2)
    assert check.verdict == "not measured"


def test_the_jackknife_of_a_mean_is_student_s_interval() -> None:
    from assay.stats.intervals import bounds

    x = DRAW(5).normal(size=12)
    found = jackknifed(np.stack([x, np.ones(12)], 1), lambda s: s[..., 0] / s[..., 1])
    assert (found.mean, found.low, found.high) == pytest.approx(bounds(x.tolist()))
    assert jackknifed(np.ones((1, 2)), lambda s: s[..., 0] / s[..., 1]).low is None


def test_intervals_of_effects_cover() -> None:
    """Of 400 samples of 25 prompts, with effects that differ by prompt, about 95 % cover 0.7."""
    hits = 0
    for seed in range(400):
        draw = DRAW(seed)
        group = np.repeat(np.arange(25), 4)
        s = draw.normal(0, 3, 25)[group] + draw.normal(0, 2, 100)
        after = s + 1.4 + draw.normal(0, 1, 25)[group] + draw.normal(0, 1, 100)
        found = effect_of(s, after, group, within_sums(s, group, 25)).change
        assert found.low is not None and found.high is not None
        hits += found.low <= 0.7 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_the_correlation_is_within_prompts() -> None:
    """Across prompts both rise together; within them score falls with length."""
    group = np.repeat(np.arange(20), 3)
    x = group + np.tile([0.0, 0.1, 0.2], 20)
    y = group - np.tile([0.0, 0.1, 0.2], 20) + DRAW(6).normal(0, 0.01, 60)
    found = correlation_within(x, y, group)
    assert found.mean is not None and found.mean < -0.9 and np.corrcoef(x, y)[0, 1] > 0.9
    assert found.low is not None and found.high is not None
    assert -1 <= found.low <= found.mean <= found.high <= 1
    assert correlation_within(np.ones(60), y, group).mean is None


@pytest.mark.parametrize(
    ("mean", "half", "n", "is_"),
    [
        (1.0, 0.4, 50, "fails"),
        (0.6, 0.4, 50, "undecided"),
        (0.1, 0.3, 50, "passes"),
        (1.0, 0.4, 7, "undecided"),
    ],
)
def test_intervals_decide(mean: float, half: float, n: int, is_: str) -> None:
    assert verdict(Interval(mean, mean - half, mean + half, n), most=0.5) == is_
    assert verdict(Interval(-mean, -mean - half, -mean + half, n), least=-0.5) == is_


def test_examples_are_those_that_moved_most_in_the_wrong_direction() -> None:
    before, after = np.zeros(20), np.arange(20.0) - 10
    texts = [
        {"prompt": "p", "before": str(i), "after": "x" * 2000, "asked": None} for i in range(20)
    ]
    every = np.ones(20, bool)
    rose = examples_of(before, after, texts, 2.0, "does not rise", every)
    assert [e.before for e in rose] == [str(i) for i in range(19, 10, -1)]
    assert rose[0].change == 4.5 and "[800 characters more]" in rose[0].after
    fell_least = examples_of(before, after, texts, 2.0, "falls", every)
    assert len(fell_least) == 10 and fell_least[-1].before == "10"
    moved = examples_of(before, after, texts, 2.0, "does not move", every)
    assert moved[0].before == "0" and moved[0].change == -5


def test_another_prompt_is_never_the_same_one() -> None:
    for G in (2, 3, 17):
        x = grouped(
            [f"p{g}" for g in range(G) for _ in range(3)],
            [f"p{g}" for g in range(G) for _ in range(3)],
            [None] * 3 * G,
            {"answer": [g for g in range(G) for _ in range(3)]},
            None,
            "test",
        )
        other = x.rows(np.arange(len(x))).asked_otherwise(x, seed=3)
        assert all(p != r for p, r in zip(other.prompts, other.responses, strict=True))
        assert set(other.prompts) == set(x.prompts)
        assert [f"p{a}" for a in other.columns["answer"]] == other.prompts


def test_probed_completions_are_chosen_evenly_and_without_a_look_at_scores() -> None:
    x = grouped([f"p{i % 20}" for i in range(200)], ["a"] * 200, [None] * 200, {}, None, "test")
    at = x.probed(5, 3, 0)
    assert len(at) == 15 and sorted(np.bincount(x.group[at])[np.unique(x.group[at])]) == [3] * 5
    assert list(at) == list(x.probed(5, 3, 0)) != list(x.probed(5, 3, 1))
    assert len(x.probed(1000, 1000, 0)) == 200
    with pytest.raises(InputError, match="one completion a prompt"):
        grouped(["a", "b"], ["x", "y"], [None, None], {}, None, "test")
