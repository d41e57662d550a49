"""Router-R1: what the weight on the cost changes in a run, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_contract import SMALL, drive, small_world

from assay.errors import InputError
from assay.recipes import router_r1

LOOP = replace(SMALL, max_steps=2, learning_rate=0.003)


def run(**given: Any) -> dict[str, Any]:
    return drive(router_r1, small_world(router_r1), {"alpha": 0.0, **given}, loop=LOOP)[1]["stats"]


@pytest.mark.full
def test_rewards_are_punished_answered_and_paid() -> None:
    free, mild, half = run(), run(punishment=0.0), run(alpha=0.5)
    assert -1 < free["reward"] < mild["reward"] < 1
    assert half["reward"] != free["reward"]
    # the control moves costs between completions: the mean over wrong answers and right ones moves
    assert run(alpha=0.5, dealt=True)["reward"] != half["reward"]
    assert run(dealt=True) == free, "without a weight there is nothing to deal"
    assert run(alpha=0.5, low=0.4, high=0.6)["reward"] != half["reward"]


def test_constants_out_of_range_are_said() -> None:
    for given, said in (({"alpha": 1.5}, "--alpha is 1.5"), ({"window": 0}, "--window 0")):
        with pytest.raises(InputError, match=said):
            run(**given)
    with pytest.raises(InputError, match="named 'price'"):
        run(cost="price")
