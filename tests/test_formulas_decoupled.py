"""DRPO's gradients say who is pushed where; its penalty is a squared hinge."""

from __future__ import annotations

import math

import pytest
import torch

from assay.formulas.advantage import group_standardised
from assay.formulas.decoupled import decoupled, hinged_kl, length_log_weights
from assay.formulas.reduce import per_completion_token, per_prompt_token

RIGHT = torch.tensor([[True, True, True, False, False, False]])
PRESENT = torch.tensor([[True, True, True, True, True, False]])
LENGTHS = torch.tensor([[10, 40, 90, 5, 60, 7]])
SCORE = torch.tensor([[-1.0, -0.5, -2.0, -0.7, -1.5, -0.1]], dtype=torch.float64)


def slope(*, lam: float = 0.1, tau: float = 10.0) -> torch.Tensor:
    s = SCORE.clone().requires_grad_()
    weight = length_log_weights(LENGTHS, longest=100, lam=lam)
    decoupled(s, RIGHT, PRESENT, weight, tau=tau).sum().backward()
    return s.grad[0]  # type: ignore[index,no-any-return]


def test_a_right_answer_is_raised_by_its_weight_and_a_wrong_one_lowered_by_its_softmax() -> None:
    w = ((1 - LENGTHS[0, :3].double() / 100) / 0.1).exp()
    torch.testing.assert_close(slope()[:3], -w / w.sum())
    torch.testing.assert_close(slope(tau=0.5)[3:5], (SCORE[0, 3:5] / 0.5).softmax(0))
    assert slope()[5] == 0, "an absent completion has no gradient"
    torch.testing.assert_close(slope(tau=1e9)[3:5], torch.full((2,), 0.5).double())


def test_a_long_right_answer_is_never_pushed_down_where_a_length_reward_does() -> None:
    reward = RIGHT.double() - LENGTHS / 60
    summed = group_standardised(reward, PRESENT)
    assert summed[0, 2] < 0 < summed[0, 0], "correct and long is below the mean"
    assert (slope()[:3] <= 0).all()


def test_without_a_preference_of_length_right_answers_share_alike() -> None:
    torch.testing.assert_close(slope(lam=math.inf)[:3], torch.full((3,), -1 / 3).double())


def test_a_prompt_of_one_kind_has_neither_loss_nor_gradient() -> None:
    for right in (torch.ones(1, 6, dtype=torch.bool), torch.zeros(1, 6, dtype=torch.bool)):
        s = SCORE.clone().requires_grad_()
        loss = decoupled(s, right, PRESENT, torch.zeros(1, 6), tau=1.0)
        loss.sum().backward()
        assert loss.tolist() == [0.0] and torch.equal(s.grad, torch.zeros(1, 6).double())  # type: ignore[arg-type]


def test_the_penalty_s_gradient_is_a_squared_hinge_s() -> None:
    kl = torch.tensor([-0.1, 0.05, 0.3], dtype=torch.float64, requires_grad=True)
    hinged_kl(kl, delta=0.1, beta=4.0).sum().backward()
    other = kl.detach().clone().requires_grad_()
    (2.0 * (other - 0.1).clamp(min=0).square()).sum().backward()
    expected = torch.tensor([0.0, 0.0, 4.0 * 0.2], dtype=torch.float64)
    torch.testing.assert_close(kl.grad, expected)
    torch.testing.assert_close(other.grad, expected)


def test_constants_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="lam"):
        length_log_weights(LENGTHS, longest=100, lam=0.0)
    with pytest.raises(ValueError, match="tau"):
        decoupled(SCORE, RIGHT, PRESENT, torch.zeros(1, 6), tau=0.0)


def test_prompts_weigh_alike_whatever_the_number_of_their_completions() -> None:
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[0, 0, :2], mask[1, 0, :4], mask[1, 1, :1], mask[1, 2, :2] = True, True, True, True
    w = per_prompt_token(mask)
    torch.testing.assert_close(w.sum((1, 2)), torch.full((2,), 0.5).double())
    torch.testing.assert_close(w.sum(2)[1], torch.full((3,), 1 / 6).double())
    assert torch.equal(w[~mask], torch.zeros(int((~mask).sum())).double())
    even = mask[:1].expand(2, -1, -1)
    torch.testing.assert_close(per_prompt_token(even), per_completion_token(even))
