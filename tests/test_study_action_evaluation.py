"""Evaluators of steps are judged by where the steps that reach something stand among the others."""

from __future__ import annotations

import pytest
import torch

from assay.core import InputError
from assay.recipes.action_evaluation import advantages, study
from assay.worlds import table


def test_advantage_is_twice_the_area_minus_one() -> None:
    said = torch.tensor([[0.9, 0.1], [0.5, 0.1], [0.2, 0.3], [0.5, 0.2]], dtype=torch.float64)
    true = torch.tensor([[True, False], [True, False], [False, True], [False, False]])
    found = advantages(said, true)
    assert found[0, 0] == 1.0 and found[1, 0] == 0.5  # one below, one equal
    assert found[2, 1] == 1.0
    assert advantages(-said, true)[0, 0] == -1.0


def test_seeds_are_dealt_the_steps_in_turn() -> None:
    lines = [list(study(table.world(testbed="grid", prompts=2, seed=s))) for s in (0, 27, 28)]
    dealt = [next(x for x in each if "dealt" in x) for each in lines]
    assert [x["dealt"] for x in dealt] == [0, 27, 0] and dealt[0]["of"] == 28
    assert dealt[0] == dealt[2] != dealt[1]
    of = [x for x in lines[0] if "subgoal" in x]
    assert sum(x["reached"] for x in of) == 28 and {x["steps"] for x in of} == {400}


def test_it_needs_subgoals_and_a_model() -> None:
    with pytest.raises(InputError, match="testbed grid"):
        next(study(table.world(testbed="bandit", prompts=2)))
    with pytest.raises(InputError, match="no model"):
        next(study(table.world(testbed="grid", prompts=2), judge="world"))
