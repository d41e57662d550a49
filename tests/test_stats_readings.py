"""What the report asks of readings: peaks, falls, values at a KL; what is not known is said to be
so.
"""

from __future__ import annotations

from typing import Any

import pytest

from assay.stats import effects
from assay.stats.readings import at_kl, drop, final, path, peak, reference, rise


def reading(
    step: int, gold: float | None, kl: float | None = None, tag: str = ""
) -> dict[str, Any]:
    return {"step": step, "gold": gold, "kl": kl, "tag": tag, "gold_err": None}


def test_peak_is_from_the_second_look_where_there_is_one() -> None:
    run = [
        reading(0, 1.0, 0.0),
        reading(5, 3.0, 1.0),
        reading(10, None, 4.0),
        reading(15, 0.5, 9.0),
    ]
    assert peak(run) == {
        "gold": 3.0,
        "gold_err": None,
        "kl": 1.0,
        "step": 5,
        "tag": "",
        "source": "highest reading",
    }
    assert drop(run) == 2.5
    again = [*run, reading(5, 2.0, 1.1, "best")]
    found = peak(again)
    assert found and (found["gold"], found["source"]) == (2.0, "re-read")
    assert rise(again) == 1.0 and rise(run) == 2.0, "against the reference as it was read"
    paired = [*run, {**again[-1], "stats": {"fresh/gold_reference": 0.75, "fresh/gold_last": 2.0}}]
    assert (drop(paired), rise(paired)) == (0.0, 1.25), (
        "on the answers of the second look, where the others were read there too"
    )
    assert drop(again) == 1.5 and final(again) == run[3] and reference(again) == run[0]
    assert at_kl(again, 0.25) == 2.0 and at_kl(again, 9.01) is None and at_kl(again, 9.0) == 0.5
    assert list(path(again)[0]) == [0.0, 1.0, 3.0]


def test_where_no_gold_was_read_nothing_is_made_up() -> None:
    run = [reading(0, None, 0.0), reading(5, None, 1.0)]
    assert (
        peak(run) is None and drop(run) is None and final(run) is None and at_kl(run, 0.5) is None
    )
    assert reference([reading(5, 1.0)]) is None and peak([]) is None


def test_a_claim_takes_fresh_samples_or_nothing() -> None:
    run: list[dict[str, Any]] = [reading(0, 1.0, 0.0), reading(5, 3.0, 1.0), reading(15, 0.5, 9.0)]
    fresh = {"fresh/gold_reference": 0.75, "fresh/gold_last": 0.25}
    whole = [*run, {**reading(5, 2.0, 1.1, "best"), "stats": fresh}]
    found = [f(whole) for f in (effects.peak, effects.rise, effects.drop, effects.final)]
    assert found == [2.0, 1.25, 1.75, 0.5]
    assert [rise(whole), drop(whole)] == found[1:3], "the report and a claim mean the same"
    assert effects.curve(whole) == [(0.0, 1.0), (1.0, 3.0), (3.0, 0.5)]
    for f in (effects.peak, effects.rise, effects.drop):
        with pytest.raises(ValueError, match="has not read its best checkpoint again"):
            f(run)
    assert rise(run) == 2.0 and drop(run) == 2.5, "the report shows what there is"
    with pytest.raises(ValueError, match="no gold"):
        effects.final([reading(0, None)])
