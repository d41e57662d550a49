"""Laws of the selection rules, of backed-up values and of labels from visits."""

from __future__ import annotations

import pytest
import torch

from assay.formulas.tree_search import backed_up, puct, step_prior, uct, visit_smoothing

ONE = torch.ones((), dtype=torch.float64)


def test_the_prior_is_the_geometric_mean_and_long_steps_gain_by_the_penalty() -> None:
    logp = torch.tensor([0.5, 0.2, 0.9], dtype=torch.float64).log()
    plain = step_prior(logp.sum(), 3 * ONE, penalty=1.0)
    assert float(plain) == pytest.approx((0.5 * 0.2 * 0.9) ** (1 / 3), abs=1e-12)
    assert float(step_prior(logp.sum(), 3 * ONE, penalty=1.25)) > float(plain)
    assert float(step_prior(logp[:1].sum(), ONE, penalty=1.25)) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("rule", ["puct", "uct"])
def test_walks_concentrate_on_the_best_child_and_forget_none(rule: str) -> None:
    """The best child is the one whose prior is least: exploration has to find it."""
    worth = torch.tensor([0.1, 0.2, 0.6], dtype=torch.float64)
    prior = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    visits = torch.zeros(3, dtype=torch.float64)
    for t in range(1, 2001):
        if rule == "puct":
            chosen = puct(torch.where(visits > 0, worth, 0.0), prior, visits, ONE * t, c=1.0)
        else:
            chosen = uct(worth, visits, ONE * t, c=0.5)
        visits[chosen.argmax()] += 1
    assert visits.min() >= 1 and visits.argmax() == 2 and visits[2] > 1500


def test_without_exploration_the_best_value_is_chosen() -> None:
    q, n = torch.tensor([[0.3, 0.7, 0.5]]), torch.tensor([[9.0, 1.0, 4.0]])
    assert torch.equal(puct(q, torch.ones_like(q), n, torch.tensor([14.0]), c=0.0), q)
    assert torch.equal(uct(q, n, torch.tensor([14.0]), c=0.0), q)


def test_a_value_is_the_mean_over_visits_and_a_new_child_counts_once() -> None:
    q = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    assert float(backed_up(q, torch.tensor([2.0, 1.0, 1.0]))) == pytest.approx(1.5 / 4)
    assert float(backed_up(q, torch.zeros(3))) == pytest.approx(0.5 / 3)
    assert float(backed_up(q, torch.tensor([2.0, 1.0, 0.0]))) == pytest.approx(1.5 / 4)


def test_smoothing_is_the_loser_s_share_of_visits() -> None:
    found = visit_smoothing(torch.tensor([3.0, 1.0, 5.0, 0.0]), torch.tensor([1.0, 3.0, 0.0, 0.0]))
    assert found.tolist() == [0.25, 0.5, 0.0, 0.5]
