"""The study of refutation: its lines, its arithmetic between kinds, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from assay.core import InputError
from assay.recipes.refutation import PLAYERS, study
from assay.registry.catalogue import load_world as place

QUICK: dict[str, Any] = {
    "features": 6,
    "reveal": 3,
    "debates": 16,
    "sittings": 4,
    "doubts": 16,
    "doubting": 2,
    "pairs": 200,
}


def lines(seed: int, **arguments: Any) -> list[dict[str, Any]]:
    return list(study(place("study")(seed=seed), **{**QUICK, **arguments}))


def timeless(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in x.items() if k != "seconds"} for x in found]


@pytest.mark.full
def test_a_study_is_a_function_of_its_seed() -> None:
    assert timeless(lines(1)) == timeless(lines(1)) != timeless(lines(2))


@pytest.mark.full
def test_all_kinds_have_one_judge_and_spend_as_much() -> None:
    found = {kind: lines(1, players=kind) for kind in PLAYERS}
    judges = {str(x[0]) for x in found.values()}
    assert len(judges) == 1, "the judge does not know who will debate"
    spent = {kind: x[-1] for kind, x in found.items()}
    trained = [k for k in PLAYERS if k != "random"]
    for what in ("scored", "labels", "updates"):
        assert len({spent[k][what] for k in trained}) == 1
    left = {kind: x[2] for kind, x in found.items()}
    assert len({str({**x, "players": ""}) for x in left.values()}) == len(PLAYERS)
    for kind in trained:
        assert 0 <= left[kind]["irrefutable"] <= left[kind]["confused"] + 0.1
    assert left["random"]["irrefutable"] is None
    assert left["random"]["alone"] == pytest.approx(left["random"]["debated"], abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"players": "minimax"}, "--players is minimax"),
        ({"reveal": 7}, "--reveal 7"),
        ({"decisions": 1}, "--decisions 1"),
        ({"doubts": 3}, "--doubts 3"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        lines(0, **arguments)
