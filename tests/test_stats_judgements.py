"""That a judge that says the same of all items is worth a half, and that steps count by items."""

from __future__ import annotations

import pytest

from assay.stats.judgements import KINDS, balanced, counts, pooled


def reading(step, chance, kinds):
    return {"step": step, "stats": counts(chance, kinds)}


def test_who_always_says_1_is_worth_a_half_of_any_set_of_items():
    says = {("1", "0"): 1.0, ("0", "1"): 0.0, ("1", "2"): 1.0, ("2", "1"): 0.0}
    for kinds in (
        KINDS,
        [KINDS[0], KINDS[0], KINDS[1]],
        KINDS[:3],  # no pair with the second right: those with the first do not count
        [*KINDS[1:], KINDS[3]],
    ):
        assert balanced(counts([says[k] for k in kinds], kinds)) == 0.5
    assert balanced(counts([1.0, 1.0], [KINDS[0], KINDS[2]])) is None
    assert balanced(counts([0.9, 0.7], KINDS[2:])) == pytest.approx(0.8)
    assert balanced(counts([1.0] * 4, KINDS)) == 1.0


def test_steps_are_pooled_before_kinds_are_averaged():
    """Two steps that lack a kind each make a whole set; a step of more items counts for more."""
    right, wrong = KINDS[:2]
    lacking = [reading(5, [1.0], [right]), reading(10, [0.0, 0.0], [wrong] * 2)]
    assert [balanced(r["stats"]) for r in lacking] == [None, None]
    assert balanced(pooled(lacking, last=4)) == 0.5
    uneven = [reading(5, [1.0, 1.0], [right, wrong]), reading(10, [0.0] * 6, [right, wrong] * 3)]
    assert balanced(pooled(uneven, last=4)) == 0.25
    assert balanced(pooled(uneven, last=1)) == 0.0


def test_a_reading_counts_for_the_steps_since_the_one_before():
    right, wrong = KINDS[:2]
    none = {"step": 0, "stats": {}}
    run = [none, reading(4, [1.0, 1.0], [right, wrong]), reading(5, [0.0, 0.0], [right, wrong])]
    assert balanced(pooled(run, last=4)) == pytest.approx(0.8)
    assert balanced(pooled([none], last=4)) is None
