"""Preference models, fitted and exact, and the door in front of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_recipes_nash import RPS, table
from torch import Tensor

from assay.core import CheckedPreference, Rng, Samples
from assay.engine.parallel import meter
from assay.errors import InputError
from assay.rewards.general_preference import SkewPreference, general_preference, shares
from assay.worlds.table import world


def completions(n: int = 3) -> Samples:
    reference = table()
    return reference.sample(reference.prompts(torch.arange(2)), n, Rng(1)("x"))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda a, b: torch.full((2, 3, 3), torch.nan), "gave nan"),
        (lambda a, b: torch.full((2, 3, 3), 0.7), "gave 0.699"),
        (lambda a, b: torch.full((2, 3, 3), 0.5), "not antisymmetric"),
        (lambda a, b: torch.zeros(2, 3), r"returned shape \[2, 3\]"),
        (lambda a, b: 0.0, "returned <class 'float'>"),
    ],
)
def test_what_is_no_preference_is_refused(model: Any, said: str) -> None:
    x = completions()
    with pytest.raises(InputError, match=said):
        CheckedPreference(model)(x, x)


def test_the_law_is_checked_across_two_batches_and_other_prompts_are_refused() -> None:
    x, y = completions(), completions(2)
    with pytest.raises(InputError, match="not antisymmetric"):
        CheckedPreference(lambda a, b: torch.full((len(a), *_n(a, b)), 0.3))(x, y)
    with pytest.raises(InputError, match="same prompts"):
        CheckedPreference(SkewPreference(RPS - 0.5))(x, y[torch.tensor([1, 0])])


def _n(a: Samples, b: Samples) -> tuple[int, int]:
    return a.mask.shape[1], b.mask.shape[1]


def test_absent_completions_are_neither_compared_nor_counted() -> None:
    x = completions()
    gone = x.mask.clone()
    gone[0, 1] = False
    some = replace(x, mask=gone)
    door, before = CheckedPreference(SkewPreference(RPS - 0.5, link="linear")), dict(meter.counts)
    found = door(some, some)
    assert not bool(found[0, 1].any()) and not bool(found[0, :, 1].any())
    assert meter.counts["compared"] - before["compared"] == 1 + 3


def test_a_fitted_preference_model_finds_a_cycle_and_bradley_terry_cannot() -> None:
    learned = world(testbed="game", learned=True, pairs=2000, noise=0.1, strength=0.8)
    x = learned.task.reference.sample(learned.task.prompts, 1, Rng(0)("one"))
    every = torch.arange(3)[None, :, None].expand(len(x), 3, 1)
    whole = torch.ones_like(every, dtype=torch.bool)
    y = replace(
        x,
        action=every,
        mask=whole,
        given=~whole,
        logp=torch.zeros_like(every).double(),
        ended=whole[..., 0],
        extra={},
    )
    P = learned.task.preference(y, y)[0]
    assert P[1, 0] > 0.2 and P[2, 1] > 0.2 and P[0, 2] > 0.2  # 0.32 after 10 % flips
    assert P[1, 0] < 0.4
    scores = learned.task.rewards(y)[0, 0]
    gaps = torch.stack([scores[1] - scores[0], scores[2] - scores[1], scores[0] - scores[2]])
    assert float(gaps.min()) <= 0 <= float(gaps.max())


def test_the_fit_is_the_minimum_of_its_loss() -> None:
    w = world(testbed="bag game", game="cyclic", arms=5, length=4, pairs=300)
    pairs = w.task.pairs
    W = general_preference(pairs, vocabulary=5, ridge=0.1).weight
    won, lost = shares(pairs, 5).unbind(1)

    def loss(W: Tensor) -> Tensor:
        z = ((won @ W) * lost).sum(-1)
        return -torch.nn.functional.logsigmoid(z).sum() + 0.1 / 4 * W.square().sum()

    free = W.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(loss((free - free.mT) / 2), free)
    assert float(grad.abs().max()) < 1e-6
