"""The rewrite that is asked in place of a question."""

from __future__ import annotations

import math

import pytest
import torch

from assay.loops.question_rewrites import chosen


def test_a_choice_keeps_the_question_where_no_rewrite_is_predicted_safer() -> None:
    logit, true = torch.tensor([[1.0, -1.0]]).double(), torch.tensor([[0.7, 0.1]]).double()
    away, own, asked = torch.zeros(1, 2), torch.tensor([0.0]), torch.tensor([0.4])
    lines = list(
        chosen(logit, true, away.double(), own.double(), asked.double(), penalty=0.0, most=2)
    )
    # n = 1: either rewrite; the first is predicted riskier than the question, so it is not asked
    assert [x["true_risk"] for x in lines] == pytest.approx([(0.4 + 0.1) / 2, 0.1])
    assert lines[1]["predicted_risk"] == pytest.approx(1 / (1 + math.e))
    assert [x["least_possible"] for x in lines] == pytest.approx([(0.4 + 0.1) / 2, 0.1])


def test_a_penalty_keeps_the_question_where_a_rewrite_has_foreign_words() -> None:
    """A safer rewrite, half of whose words are foreign: at 4 logits a share it is not asked."""
    logit, true, away = (torch.tensor([[x]]).double() for x in (-1.0, 0.1, 0.5))
    own, asked = torch.zeros(1).double(), torch.tensor([0.4]).double()
    (free,) = chosen(logit, true, away, own, asked, penalty=0.0, most=1)
    (dear,) = chosen(logit, true, away, own, asked, penalty=4.0, most=1)
    assert (free["true_risk"], free["foreign_words"]) == pytest.approx((0.1, 0.5))
    assert (dear["true_risk"], dear["foreign_words"]) == pytest.approx((0.4, 0.0))
