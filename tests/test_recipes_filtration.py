"""Which answers are kept, what R² says, and what the labels cost."""

from __future__ import annotations

import pytest
import torch
from small import small_world
from test_contract import drive

from assay.core import Carry, InputError, Loop
from assay.recipes import policy_filtration
from assay.recipes.policy_filtration import kept, r_squared, ranked, recipe, surer

R = torch.tensor([[3.0, 9.0, -1.0, 4.0], [0.0, 0.0, 5.0, 0.0]])
HERE = torch.tensor([[True, True, True, True], [True, True, False, False]])
U = torch.tensor([[0.4, 0.1, 0.2, 0.3], [0.9, 0.8, 0.1, 0.2]])


def test_rules_by_hand():
    assert ranked(R, HERE, U, "best")[0].tolist() == [1]
    assert ranked(R, HERE, U, "best_worst")[0].tolist() == [1, 2]
    assert ranked(R, HERE, U, "best_random")[0].tolist() == [
        1,
        2,
    ]  # the least chance among the others
    assert ranked(R, HERE, U, "random")[0].tolist() == [1, 2]


@pytest.mark.parametrize("rule", ["best", "best_random", "best_worst", "random"])
def test_absent_answers_are_never_kept(rule):
    assert set(ranked(R, HERE, U, rule)[1].tolist()) <= {0, 1}


def test_the_other_is_another_and_every_other_comes_up():
    r = torch.randn(1, 5).repeat(400, 1)
    u = torch.rand(400, 5)
    best, other = ranked(r, torch.ones_like(r, dtype=torch.bool), u, "best_random").T
    assert (best == r[0].argmax()).all() and set(other.tolist()) == set(range(5)) - {
        int(r[0].argmax())
    }


def test_r_squared_by_hand_and_flattered_by_range():
    x = torch.tensor([1.0, 2, 3]).double()
    assert r_squared(x, 2 - 3 * x) == pytest.approx(1) and r_squared(x, torch.ones(3).double()) == 0
    assert r_squared(x, torch.tensor([1.0, 0, 1]).double()) == pytest.approx(0, abs=1e-12)
    r = torch.randn(2000, 8)
    label = r + torch.randn(2000, 8)  # the same error everywhere in the ranking
    here, u = torch.ones_like(r, dtype=torch.bool), torch.rand(2000, 8)
    of = {
        rule: r_squared(*kept(r, label, here, ranked(r, here, u, rule)))
        for rule in ("best_worst", "random", "best")
    }
    assert of["best_worst"] > of["random"] + 0.1 and of["best"] < of["random"] - 0.1


def test_surer_is_not_flattered_by_range_and_sees_an_error_that_differs_by_rank():
    g = torch.Generator().manual_seed(0)
    r = torch.randn(4000, 8, generator=g).double()
    e = torch.randn(4000, 8, generator=g).double()
    here, u = torch.ones_like(r, dtype=torch.bool), torch.rand(4000, 8, generator=g)
    ends, whole = ranked(r, here, u, "best_worst"), torch.arange(8).expand(4000, -1)

    def at(label: torch.Tensor) -> float:
        return surer(kept(r, label, here, ends), kept(r, label, here, whole))

    assert at(r + e) == pytest.approx(0, abs=0.02)  # R² itself is higher by more than 0.1
    assert at(r + e * (2 * (r.abs() < 1))) > 0.3
    assert at(r + e * (2 * (r.abs() > 1))) < -0.3
    assert at(torch.ones_like(r)) == 0


def test_labels_are_bought_once_and_counted():
    world = small_world(policy_filtration)
    fixed, measured = (
        drive(policy_filtration, world, {"rule": k, "asked": 2}) for k in ("best_worst", "measured")
    )
    assert fixed[-2]["labels"] == 0 and [r["labels"] for r in measured if r["tag"] != "best"] == [
        0,
        24,
        48,
        48,
        48,
    ]
    assert (
        measured[1]["generated"] == fixed[1]["generated"]
        and measured[-2]["updates"] == fixed[-2]["updates"]
    )


def test_what_cannot_be_is_refused():
    task = small_world(policy_filtration).task
    for arguments, said in (({"rule": "top"}, "--rule is 'top'"), ({"asked": 0}, "--asked is 0")):
        with pytest.raises(InputError, match=said):
            next(iter(recipe(task.replaced(carry=Carry()), loop=Loop(), **arguments)))
