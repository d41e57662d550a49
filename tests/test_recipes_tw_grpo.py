"""TW-GRPO: where a group differs, what that weighs, what part of an answer is worth."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_contract import SMALL, drive, small_world

from assay.errors import InputError
from assay.formulas.focused import group_divergence, partial_credit, place_weights
from assay.recipes import tw_grpo

F = torch.float64


def logs(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=F).log()


def test_a_group_that_agrees_has_no_divergence_and_the_sum_is_unweighted() -> None:
    two = torch.tensor([[True, True]])
    assert float(group_divergence(logs([0.7, 0.3], [0.7, 0.3]), two)) == pytest.approx(0, abs=1e-12)
    # by hand: log p = ±½·log 9 around the mean, in both choices
    p = logs([0.9, 0.1], [0.1, 0.9])
    d = math.log(9) / 2
    expected = (math.exp(d) - d - 1) + (math.exp(-d) + d - 1)
    assert float(group_divergence(p, two)) == pytest.approx(expected)
    tail = logs([0.5, 0.5 - 2e-6, 1e-6, 1e-6], [0.5, 0.5 - 2e-12, 1e-12, 1e-12])
    assert float(group_divergence(tail, two)) > 100, "unlikely choices decide: this is no KL"
    far = logs([1 - 1e-30, 1e-30], [0.5, 0.5])
    assert float(group_divergence(far, two)) < 1.01 * math.exp(11), "differences are held"


def test_one_that_has_ended_is_uniform_or_apart_and_what_cannot_be_chosen_is_left_out() -> None:
    p = logs([0.9, 0.1], [0.2, 0.8])
    one = torch.tensor([[True, False]])
    filled = group_divergence(logs([0.9, 0.1], [0.5, 0.5]), torch.tensor([[True, True]]))
    torch.testing.assert_close(group_divergence(p, one), filled)
    assert float(group_divergence(p, one, fill=False)) == pytest.approx(0, abs=1e-12)
    assert float(group_divergence(p, ~torch.ones_like(one))) == 0
    barred = torch.cat([p, torch.full((1, 2, 3), -torch.inf, dtype=F)], -1)
    for here in (one, torch.ones_like(one)):
        torch.testing.assert_close(group_divergence(barred, here), group_divergence(p, here))


def test_the_weights_own_gradient_is_zero_unless_some_have_ended() -> None:
    # the released code learns through the weights of its one update; here nothing does
    divergence, weigh = group_divergence.__wrapped__, place_weights.__wrapped__
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 4, 5, 6, dtype=F, generator=rng)
    action = torch.randint(6, (1, 4, 5, 1), generator=rng)
    a = torch.tensor([1.5, -0.5, -0.5, -0.5], dtype=F)[:, None]

    def gradient(mask: torch.Tensor, attached: bool) -> torch.Tensor:
        z = logits.clone().requires_grad_()
        logp = z.log_softmax(-1)
        of = logp if attached else logp.detach()
        k = torch.stack([divergence(of[:, :, t], mask[:, :, t]) for t in range(5)], -1)
        w = weigh(k, mask.any(1), most=1.7)[:, None]
        own = logp.gather(-1, action)[..., 0]
        (grad,) = torch.autograd.grad((w * a * (own - own.detach()).exp() * mask).sum(), z)
        return grad

    everyone = torch.ones(1, 4, 5, dtype=torch.bool)
    torch.testing.assert_close(gradient(everyone, True), gradient(everyone, False))
    some = everyone.clone()
    some[0, 1, 3:] = False
    apart = gradient(some, True) - gradient(some, False)
    assert apart.norm() > 0.01 * gradient(some, False).norm()
    logp = logits.log_softmax(-1).requires_grad_()
    assert not group_divergence(logp[:, :, 0], everyone[:, :, 0]).requires_grad


def test_weights_go_from_one_to_alpha_and_permuting_keeps_them() -> None:
    k = torch.tensor([[2.0, 5.0, 3.0, 99.0], [1.0, 1.0, 1.0, 7.0]], dtype=F)
    where = torch.tensor([[True, True, True, False]] * 2)
    w = place_weights(k, where, most=1.7)
    torch.testing.assert_close(w, torch.tensor([[1, 1.7, 1 + 0.7 / 3, 1], [1, 1, 1, 1]], dtype=F))
    torch.testing.assert_close(place_weights(10 * k + 3, where), w)
    u = torch.tensor([[0.9, 0.5, 0.1, 0.0]] * 2, dtype=F)
    dealt = tw_grpo.permuted(w, where, u)
    assert dealt[0].tolist() == [w[0, 2], w[0, 1], w[0, 0], 1.0]
    with pytest.raises(ValueError, match=r"most is 0\.5"):
        place_weights(k, where, most=0.5)


def test_credit_is_the_share_of_right_choices_and_one_wrong_one_takes_all() -> None:
    right = torch.tensor([True, True, False])
    every = torch.tensor(list(itertools.product([False, True], repeat=3)))
    found = partial_credit(every, right.expand(8, 3))
    expected = [0.0 if c else (a + b) / 2 for a, b, c in every.tolist()]
    assert found.tolist() == expected
    with pytest.raises(ValueError, match="no right choice"):
        partial_credit(every, torch.zeros(8, 3, dtype=torch.bool))


def last(**given: Any) -> dict[str, Any]:
    loop = replace(SMALL, learning_rate=0.01)
    return drive(tw_grpo, small_world(tw_grpo), given, loop=loop)[-2]


@pytest.mark.full
def test_weights_change_the_run_and_bad_flags_are_refused() -> None:
    mine, other, apart = last(), last(weights="permuted"), last(ended="apart")
    assert 1 < mine["stats"]["tw/weight"] < 1.7
    assert len({r["kl"] for r in (mine, other, apart, last(alpha=1.0))}) == 4
    for given, said in (
        ({"alpha": 0.5}, "--alpha is 0.5"),
        ({"weights": "x"}, "--weights is 'x'"),
        ({"ended": "x"}, "--ended is 'x'"),
    ):
        with pytest.raises(InputError, match=said):
            last(**given)
