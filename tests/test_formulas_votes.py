"""Votes: totals by answer, who is elected, and what a completion's steps are worth."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.formulas.tree_search import halfway_backed_up, uct
from assay.formulas.votes import answer_totals, elected, least_step

sizes = st.integers(1, 8)


@given(sizes, st.integers(0, 1000))
def test_totals_are_sums_by_answer_and_relabelling_changes_nothing(n: int, seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    score = torch.rand(3, n, generator=made, dtype=torch.float64)
    answer = torch.randint(0, 3, (3, n), generator=made)
    present = torch.rand(3, n, generator=made) < 0.8
    total = answer_totals(score, answer, present)
    for b in range(3):
        for i in range(n):
            own = [
                float(score[b, j])
                for j in range(n)
                if present[b, j] and answer[b, j] == answer[b, i]
            ]
            if present[b, i]:
                torch.testing.assert_close(float(total[b, i]), sum(own))
            else:
                assert total[b, i] == -torch.inf
    again = torch.tensor([7, 3, 5])[answer]
    assert torch.equal(total, answer_totals(score, again, present))
    assert torch.equal(elected(score, answer, present), elected(score, again, present))


@given(sizes, st.integers(0, 1000))
def test_the_elected_one_is_the_best_of_the_largest_total(n: int, seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    score = torch.rand(n, generator=made, dtype=torch.float64)
    answer = torch.randint(0, 3, (n,), generator=made)
    present = torch.ones(n, dtype=torch.bool)
    place = int(elected(score, answer, present))
    total = {int(a): float(score[answer == a].sum()) for a in answer.unique()}
    assert int(answer[place]) == max(total, key=total.__getitem__)
    assert float(score[place]) == float(score[answer == answer[place]].max())


def test_scores_of_one_elect_the_majority_and_sharp_scores_can_overrule_it() -> None:
    answer, present = torch.tensor([0, 1, 1, 2]), torch.ones(4, dtype=torch.bool)
    assert int(elected(torch.ones(4), answer, present)) == 1
    assert int(elected(torch.tensor([0.9, 0.3, 0.2, 0.1]), answer, present)) == 0
    gone = torch.tensor([False, True, True, True])
    assert int(elected(torch.tensor([0.9, 0.3, 0.2, 0.1]), answer, gone)) == 1


def test_a_completion_is_worth_its_worst_step() -> None:
    q = torch.tensor([[0.9, 0.2, 0.01], [0.9, 0.7, 0.8], [0.1, 0.1, 0.1]])
    here = torch.tensor([[True, True, False], [True, True, True], [False] * 3])
    torch.testing.assert_close(least_step(q, here), torch.tensor([0.2, 0.7, 0.0]))


def test_uct_prefers_what_is_unvisited_only_as_far_as_its_constant_says() -> None:
    value, visits = torch.tensor([0.5, 0.0]), torch.tensor([1.0, 0.0])
    few, many = torch.tensor(2.0), torch.tensor(1e9)
    assert int(uct(value, visits, few, c=2.0, unvisited=5.0).argmax()) == 1
    assert int(uct(value, visits, many, c=2.0, unvisited=5.0).argmax()) == 0
    assert int(uct(value, visits, many, c=2.0).argmax()) == 1


def test_backing_up_halfway_stays_between_both_and_rests_where_they_agree() -> None:
    value, visits = torch.tensor([1.0, 0.25]), torch.tensor([1.0, 3.0])
    found = halfway_backed_up(torch.tensor(0.0), value, visits)
    torch.testing.assert_close(found, torch.tensor((1.0 + 0.75) / 8))
    same = torch.full((2,), 0.3)
    torch.testing.assert_close(
        halfway_backed_up(torch.tensor(0.3), same, visits), torch.tensor(0.3)
    )
