"""The recipe of the REC family: what its constants reduce to, staleness, and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_contract import SMALL, differences, drive, small_world

from assay.core import Loop
from assay.errors import InputError
from assay.recipes import grpo, rec

MANY = replace(SMALL, epochs=2, mini_batch_size=3)


def runs(arguments: dict[str, Any], module: Any = rec, loop: Loop = MANY) -> list[dict[str, Any]]:
    read = drive(module, small_world(rec), arguments, loop=loop)
    return [{k: r[k] for k in ("step", "gold", "kl", "proxy")} for r in read]


def test_masked_and_weighted_it_is_grpo_without_a_deviation_in_many_updates() -> None:
    theirs = runs({"beta": 0.0, "standardise": False}, grpo)
    assert differences(runs({"weighted": True}), theirs, 1e-6) == []
    assert differences(runs({}), theirs, 1e-6) != [], "the weight matters after the first update"


@pytest.mark.full
def test_each_constant_changes_the_run() -> None:
    plain = runs({})  # its ratios stay inside (.8, 1.2)
    for given in (
        {"epsilon_low": 1e-3, "epsilon_high": 1e-3},
        {"sequence": True, "epsilon_low": 3e-4, "epsilon_high": 4e-4},
        {"tau": 1.0},
        {"tau": 1.0, "baseline": "log_mean_exp"},
        {"delta": 1.0},
        {"drop": True},
        {"temperature": 1.0},
        {"sync_interval": 3},
    ):
        assert differences(runs(given), plain, 1e-9) != [], given
    assert differences(runs({"shape": "none"}), plain, 1e-9) == []
    narrow = {"epsilon_low": 1e-3, "epsilon_high": 1e-3, "outer_low": 2e-3, "outer_high": 2e-3}
    shapes = [runs({"shape": s, **narrow})[-2]["kl"] for s in ("one_side", "two_side", "ring")]
    assert len(set(shapes)) == 3


def test_a_sampler_that_is_never_renewed_is_the_reference() -> None:
    """Rollouts of all steps are then the reference's: the mean reward of a step says so."""
    first = drive(rec, small_world(rec), {"sync_interval": 2}, loop=SMALL)
    never = drive(rec, small_world(rec), {"sync_interval": 99}, loop=SMALL)
    own = drive(rec, small_world(rec), {}, loop=SMALL)
    seen = [
        [r["stats"]["reward"] for r in run if "reward" in (r["stats"] or {})]
        for run in (first, never, own)
    ]
    assert seen[0][:2] == seen[1][:2] and seen[0][2] != seen[1][2]
    assert seen[1][0] == seen[2][0] and seen[1][1:] != seen[2][1:]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shape": "square"}, "--shape is 'square'"),
        ({"tau": -1.0}, "--tau is -1.0"),
        ({"baseline": "scaled"}, "needs --tau above 0"),
        ({"drop": True, "delta": 1.0}, "give one of them"),
    ],
)
def test_what_means_nothing_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        runs(given)
