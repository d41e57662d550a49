"""The study of averaged weights: its numbers by hand, and what it promises on a small world."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small import small_world

from assay.core import InputError
from assay.recipes import averaged_weights
from assay.recipes.averaged_weights import accuracy, best

TINY: dict[str, Any] = {
    "members": 2,
    "steps": 3,
    "probe": 1,
    "pretrain_steps": 2,
    "width": 16,
    "layers": 1,
}


def test_accuracy_and_best_of_n_by_hand() -> None:
    score = torch.tensor([[[1.0, 0.0, 2.0, 2.0]]]).double()
    truth = torch.tensor([[3.0, 1.0, 0.0, 1.0]]).double()
    assert accuracy(score, truth) == 0.75  # right, and a tie
    with pytest.raises(InputError, match="no two of these completions differ"):
        accuracy(score, torch.zeros_like(truth))
    two = torch.tensor([[0.0, 1.0]]).double()
    assert best(two[None], two, 2) == pytest.approx(0.5 / float(two.std()))


def test_the_study_judges_three_rewards_of_one_fit() -> None:
    world = small_world(averaged_weights)
    found = list(averaged_weights.study(world, most=4, **TINY))
    lines, spent = found[:3], {x["arm"]: x for x in found[3:]}
    assert [x["reward"] for x in lines] == list(spent) == list(averaged_weights.KINDS)
    keys = ("memorised", "wrong", "held_out")
    assert all(0 <= x[k] <= 1 for x in lines for k in keys)
    assert [x["updates"] for x in spent.values()] == [9, 9, 6]
    assert spent["scores"]["scored"] == 2 * spent["weights"]["scored"] > 0
    for line in lines:
        alone, _ = averaged_weights.study(world, kind=line["reward"], most=4, **TINY)
        assert alone == line, "a kind by itself is the same"


def test_members_that_did_not_move_are_their_average() -> None:
    """Without updates there is one model, and all three are it."""
    still = {**TINY, "steps": 0}
    lines = list(averaged_weights.study(small_world(averaged_weights), most=4, **still))[:3]
    keys = ("memorised", "wrong", "held_out")
    assert all(x[k] == pytest.approx(lines[0][k]) for x in lines[1:] for k in keys)


@pytest.mark.parametrize(
    ("arguments", "said"), [({"kind": "all"}, "--kind is 'all'"), ({"members": 1}, "at least 2")]
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        next(averaged_weights.study(small_world(averaged_weights), **arguments))
