"""What the bonus for consistent reasoning means."""

from __future__ import annotations

import torch

from assay.formulas.consistency import answer_likelihood, consistency_bonus, good_completions

ALL = torch.ones(1, 4, dtype=torch.bool)


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def test_an_answers_likelihood_is_the_geometric_mean_of_its_tokens() -> None:
    p = torch.tensor([[[0.5, 0.2, 0.8], [0.5, 0.99, 0.99], [0.5, 0.4, 0.9]]], dtype=torch.float64)
    answer = torch.tensor([[[False, True, True], [False, True, True], [False, False, False]]])
    c = answer_likelihood(p.log(), answer)
    assert torch.allclose(c, row(0.4, 0.95, 0.0))  # √(.2·.8); at most .95; and no answer
    assert torch.allclose(answer_likelihood(p.log(), answer, most=1.0)[0, 1], row(0.99)[0, 0])


def test_the_bonus_goes_to_right_completions_as_consistent_as_their_mean() -> None:
    r, c = row(1, 1, 1, 0), row(0.9, 0.3, 0.6, 0.95)
    assert torch.equal(consistency_bonus(r, c, ALL), row(0.5, 0, 0.5, 0))  # the mean is 0.6
    assert torch.equal(consistency_bonus(r, c, ALL, margin=0.4), row(0.5, 0.5, 0.5, 0))
    assert torch.equal(consistency_bonus(r, c, ALL, coefficient=0.1), row(0.1, 0, 0.1, 0))
    # a wrong completion changes nothing by its likelihood
    assert torch.equal(consistency_bonus(r, row(0.9, 0.3, 0.6, 0.0), ALL), row(0.5, 0, 0.5, 0))
    absent = torch.tensor([[False, True, True, True]])
    assert torch.equal(consistency_bonus(r, c, absent), row(0, 0, 0.5, 0))  # the mean is 0.45


def test_the_only_right_completion_has_it_and_wrong_ones_never() -> None:
    assert torch.equal(consistency_bonus(row(0, 1, 0, 0), row(1, 0, 1, 1), ALL), row(0, 0.5, 0, 0))
    assert torch.equal(consistency_bonus(row(0, 0, 0, 0), row(1, 1, 1, 1), ALL), row(0, 0, 0, 0))


def test_graded_rewards_must_reach_their_mean_and_equal_ones_do() -> None:
    good = good_completions(row(0.2, 0.9, 0.6, 0.05), ALL)
    assert good.tolist() == [[False, True, True, False]]
    third = torch.full((1, 7), 1 / 3, dtype=torch.float32)
    some = torch.ones(1, 7, dtype=torch.bool)
    assert bool(good_completions(third, some).all())
    for scale in (0.1, 0.3, 0.7):  # equal likelihoods: all have the bonus, also without a margin
        bonus = consistency_bonus(third, scale * third, some, margin=0.0)
        assert torch.allclose(bonus, 0.5 * third)
