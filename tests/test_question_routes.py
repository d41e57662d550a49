"""Routes of questions: ranked by predicted risk, and taken at a price."""

from __future__ import annotations

import pytest
import torch

from assay.loops.question_routes import Routes, ranked, routed


def test_routes_are_ranked_within_a_question() -> None:
    """By hand: two questions, three routes; one order for all is right of the first only."""
    true = torch.tensor([[0.1, 0.5, 0.9], [0.9, 0.5, 0.1]], dtype=torch.float64)
    routes = Routes(("a", "b", "c"), torch.zeros(3).double(), true[:1], true)
    assert ranked(true.logit(), routes) == {
        "kendall": 1.0,
        "fixed_kendall": 0.0,
        "safest_first": 1.0,
    }
    swapped = true[:, [1, 0, 2]].logit()  # the first two exchanged: one pair of three is wrong
    assert ranked(swapped, routes)["kendall"] == pytest.approx(1 / 3)


def test_a_question_goes_where_the_predicted_loss_is_least_and_pays_its_true_one() -> None:
    """By hand: two questions, two routes of which the second reads five words more."""
    true = torch.tensor([[0.8, 0.1], [0.3, 0.2]], dtype=torch.float64)
    words = torch.tensor([0.0, 5.0], dtype=torch.float64)
    routes = Routes(("short", "long"), words, torch.tensor([[0.55, 0.15]]).double(), true)
    x = routed(true.logit(), routes, price=0.1)
    # short: .8 .3; long: .6 .7 with its words
    assert x["loss"] == pytest.approx((0.6 + 0.3) / 2) == pytest.approx(x["least_possible"])
    assert x["best_fixed_route"] == "short" and x["best_fixed"] == pytest.approx(0.55)
    assert x["wrong"] == pytest.approx((0.1 + 0.3) / 2) and x["words"] == pytest.approx(2.5)
    assert x["rescued"] == 1.0, "one question of the two was risky, and it is not by the long route"
    free = routed(true.logit(), routes, price=0.0)
    assert free["best_fixed_route"] == "long" and free["loss"] == pytest.approx(0.15)
    held = routed(true.logit(), routes, price=0.1, withheld=0.4)
    assert held["loss"] == pytest.approx((0.4 + 0.3) / 2) and held["sent_nowhere"] == 0.5
    assert held["best_fixed_route"] == "nowhere" and held["wrong"] == pytest.approx(0.15)
    mistaken = routed(-true.logit(), routes, price=0.0)
    assert mistaken["loss"] > mistaken["best_fixed"], "a router that errs pays the true loss"


def test_the_best_fixed_route_is_chosen_without_the_questions_it_is_tried_on() -> None:
    true = torch.tensor([[0.2, 0.4], [0.2, 0.4]], dtype=torch.float64)
    routes = Routes(("a", "b"), torch.zeros(2).double(), torch.tensor([[0.5, 0.3]]).double(), true)
    x = routed(true.logit(), routes, price=0.0)
    assert x["best_fixed_route"] == "b" and x["best_fixed"] == pytest.approx(0.4)


def test_nothing_is_read_off_the_least_of_observed_shares() -> None:
    """Three equal routes of risk .5 and six draws: the least share promises a room that is none."""
    draw = torch.Generator().manual_seed(0)
    share = torch.rand(4000, 3, 6, generator=draw).round().double().mean(-1)
    fair, blind = torch.full((1, 3), 0.5).double(), torch.full((4000, 3), 0.5).double()
    known = Routes(("a", "b", "c"), torch.zeros(3).double(), fair, share)
    seen = Routes(("a", "b", "c"), torch.zeros(3).double(), fair, share, observed=True)
    assert routed(blind.logit(), known, price=0.0)["least_possible"] < 0.36, "read as risks"
    x = routed(blind.logit(), seen, price=0.0)
    assert x["loss"] == pytest.approx(0.5, abs=0.02) == x["best_fixed"], "means are unbiased"
    assert not {"least_possible", "rescued"} & set(x)
    assert "safest_first" not in ranked(blind.logit(), seen)
