"""The debate by hand, the judge's fit, and what the study's lines mean."""

from __future__ import annotations

import itertools

import pytest
import torch
from small import small_world

from assay.core import InputError, Rng
from assay.recipes import debate
from assay.recipes.debate import judged, measured, shown, study

GAP = torch.tensor([[[3.0, -1.0, 0.5, -4.0, 2.0, 0.1]]])
CHANCE = torch.tensor([[0.9, 0.1, 0.2, 0.8, 0.7, 0.6]])


def test_evidence_by_hand():
    assert shown(GAP, "alone", 2, CHANCE)[0, 0].tolist() == [1, 0, 0, 0, 1, 0]
    assert shown(GAP, "debate", 2, CHANCE)[0, 0].tolist() == [1, 0, 0, 1, 0, 0]
    assert shown(GAP, "debate", 3, CHANCE)[0, 0].tolist() == [
        1,
        0,
        0,
        1,
        1,
        0,
    ]  # who begins shows one more
    assert shown(GAP, "random", 2, CHANCE)[0, 0].tolist() == [0, 1, 1, 0, 0, 0]
    assert shown(GAP, "full", 2, CHANCE).sum() == 6


def test_the_debate_is_the_game_s_own_value():
    """Minimax over all orders of four moves equals the sum of the gaps shown."""
    gap = torch.randn(6, generator=torch.Generator().manual_seed(3))

    def value(left: frozenset, moves: int) -> float:
        if moves == 0:
            return 0.0
        after = [float(gap[f]) + value(left - {f}, moves - 1) for f in left]
        return max(after) if moves % 2 == 0 else min(after)

    mask = shown(gap[None, None], "debate", 4, torch.zeros(1, 6))[0, 0]
    assert float((gap * mask).sum()) == pytest.approx(value(frozenset(range(6)), 4), abs=1e-6)


def test_the_judge_learns_what_people_like():
    liked = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).double()
    w = judged(8, 3, 3, 6000, liked, 0.5, Rng(0))
    assert w.shape == (3, 16)
    for a, b in itertools.combinations(
        range(3), 2
    ):  # comparisons fix differences between decisions
        said, true = w[a, :8] - w[b, :8], liked[a] - liked[b]
        assert float(torch.corrcoef(torch.stack([said, true]))[0, 1]) > 0.9


def test_measures_by_hand():
    chosen, base = torch.tensor([0, 1]), torch.tensor([0, 0])
    r = torch.tensor([[2.0, 0.0], [2.0, 1.0]])
    truth = torch.tensor([[0.0, 5.0], [0.0, 5.0]])
    gap = torch.tensor([[[0.0, 0, 0], [1, 1, 1]], [[0.0, 0, 0], [2, -1, -3]]])
    mask = torch.tensor([[[1.0, 0, 0], [1, 0, 0]], [[1.0, 0, 0], [1, 0, 0]]])
    said = measured(chosen, base, r, truth, gap, mask, 1)
    assert said == {
        "return": 0.75,
        "differ": 0.5,
        "preferred": 0.75,
        "gold": 2.5,
        "wins": 1.0,
        "agrees": 0.0,
        "robust": 0.0,
    }


def test_a_study_is_a_function_of_its_world_and_its_extremes_are_known():
    world = small_world(debate)
    lines = list(study(world, states=200, pairs=500, lams=[0.0, 0.5]))
    assert lines == list(study(world, states=200, pairs=500, lams=[0.0, 0.5])) and len(lines) == 8
    for line in lines[:4]:  # λ = 0 is the baseline
        assert (
            line["differ"] == 0 and line["return"] == pytest.approx(1) and line["preferred"] == 0.5
        )
    full = next(line for line in lines if line["lam"] == 0.5 and line["evidence"] == "full")
    assert full["agrees"] == 1 and full["return"] < 1 and full["differ"] > 0


@pytest.mark.parametrize(
    "arguments", [{"reveal": 0}, {"reveal": 19, "confuse": 2}, {"decisions": 1}]
)
def test_what_cannot_be_is_refused(arguments):
    with pytest.raises(InputError, match="--reveal"):
        next(iter(study(small_world(debate), **arguments)))
