"""Bundles and papers of RiskPO: who is in them, what they score, and the sign of advantages."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small import small_world
from test_contract import drive, loop_of

from assay.core import InputError
from assay.recipes import risk_po


def test_every_prompt_is_in_one_bundle_and_only_the_last_may_be_short() -> None:
    which = risk_po.bundles(8, 3, torch.tensor([7, 6, 5, 4, 3, 2, 1, 0]))
    assert which.tolist() == [2, 2, 1, 1, 1, 0, 0, 0]


def test_a_paper_is_the_sum_of_its_prompts_rewards_on_one_scale() -> None:
    reward = torch.tensor([[1.0, 0.0], [1.0, 9.0], [0.0, 1.0]], dtype=torch.float64)
    present = torch.tensor([[True, True], [True, False], [True, True]])
    total, some = risk_po.papers(reward, present, torch.tensor([0, 0, 1]), 2)
    assert total.tolist() == [[2.0, 0.0], [0.0, 2.0]] and some.all()
    _, none = risk_po.papers(reward, present & False, torch.tensor([0, 0, 1]), 2)
    assert not none.any()


def test_the_released_division_is_by_the_deviation_of_a_bundle_s_scores() -> None:
    """As released: std of the papers' scores, ÷ (n − 1); bundles of equal papers are left alone."""
    total = torch.tensor([[0.0, 1.0, 5.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    some = torch.tensor([[True, True, True], [True, True, False]])
    assert risk_po.spread(total, some).flatten().tolist() == pytest.approx([math.sqrt(7), 1.0])
    seen: list[Any] = []

    def spied(R: Any, some: Any) -> Any:
        seen.append(R)
        return real(R, some)

    real = risk_po.spread
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(risk_po, "spread", spied)
        last(divide=True)
    assert len(seen) == 1 and (seen[0] >= 0).all(), "advantages with the natural baseline are ≤ 0"
    assert (seen[0] > 0).any()


def last(**constants: Any) -> dict[str, Any]:
    """Statistics of one step."""
    loop = replace(loop_of(risk_po), max_steps=1)
    return drive(risk_po, small_world(risk_po), {"bundle": 3, **constants}, loop)[-2]["stats"]


def test_a_completion_is_inside_or_outside_the_clip_as_a_whole() -> None:
    """Its ratio is the geometric mean of its decisions', so that opposite moves cancel."""
    old = torch.tensor([[[-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0], [-1.0, -1.0, 0.0]]]).double()
    moved = torch.tensor([[[0.9, -0.9, 0.0], [0.5, 0.5, 0.5], [0.2, 0.0, 0.0]]]).double()
    logp = (old + moved).requires_grad_()
    rows: Any = SimpleNamespace(logp=old, lengths=torch.tensor([[3, 3, 2]]))
    A = torch.ones(1, 3, 1, dtype=torch.float64)
    loss = risk_po.by_completion(logp, rows, A, low=0.2, high=0.2)
    by_hand = torch.tensor([[-1.0, -1.2, -math.exp(0.1)]]).double()
    torch.testing.assert_close(loss[..., 0], by_hand)
    loss[..., 0].sum().backward()
    wanted = torch.tensor([[1 / 3, 0.0, math.exp(0.1) / 2]]).double()
    torch.testing.assert_close(logp.grad[..., 0], -wanted)  # type: ignore[index]
    assert (logp.grad[:, :2].std(-1) == 0).all()  # type: ignore[index]


def test_no_advantage_is_above_0_with_the_natural_baseline_and_none_below_without() -> None:
    natural, mean = last(), last(baseline="mean")
    tail_free = last(baseline="none", omega=0.0)
    assert natural["advantage/frac_negative"] > 0 and tail_free["advantage/frac_negative"] == 0
    assert 0 < mean["advantage/frac_negative"] < 1
    assert last(score="group", shift=-9.0)["advantage/frac_negative"] == 1
    assert natural["risk/low"] <= natural["risk/high"]


def test_constants_that_are_none_are_refused() -> None:
    for constants in ({"bundle": 0}, {"levels": (0.8, 0.2)}, {"omega": -1.0}):
        with pytest.raises(InputError, match="--bundle"):
            last(**constants)
