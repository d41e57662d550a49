"""Judges that share no weight are fitted and scored one by one, a thread each: the same judges as
all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import InputError, Loop, Pairs, Rng
from assay.formulas.pairwise import bradley_terry, centring
from assay.models.backbones.attention import Config
from assay.models.vocabulary import Vocabulary
from assay.rewards.ensemble import Members
from assay.rewards.fit import fitted, trained

WORDS = Vocabulary(["ask", "a", "b", "c", "d"])
LOOP = Loop(max_steps=5, batch_size=8, learning_rate=3e-3)


def members(M: int = 3) -> Members:
    return Members(Config(len(WORDS), 16, 2, 2, 1, 32), M, Rng(7)).double()


def pairs(n: int = 40) -> Pairs:
    draw = (
        Rng(3)
        .integers(4, torch.arange(n)[:, None, None], torch.arange(2)[:, None], torch.arange(4))
        .tolist()
    )
    x = WORDS.completions(
        WORDS.prompts(["ask a"] * n),
        [[" ".join("abcd"[i] for i in one) for one in two] for two in draw],
    )
    return Pairs(
        **{f.name: getattr(x, f.name) for f in fields(x)}, p=torch.ones(n), margin=torch.zeros(n)
    )


def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
    return bradley_terry(chosen, rejected, p=p, margin=margin) + 0.01 * centring(chosen, rejected)


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_members_on_threads_of_their_own_are_the_same_judges() -> None:
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(fitted(members(), pairs(), loss=loss, loop=LOOP)(pairs()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)


def test_one_by_one_is_the_fit_of_all_at_once() -> None:
    """A penalty, here of nothing, takes the way on which the members' losses are one graph."""

    class Nothing:
        def view(self, model: Any, each: Any, t: int) -> Tensor:
            return model.head[:, None].expand(-1, len(each[0]), -1)

        def __call__(self, view: Tensor, each: Any) -> Tensor:
            return 0 * view.sum((1, 2))

    alone, joint = (
        fitted(members(), pairs(), loss=loss, penalty=penalty, loop=LOOP)
        for penalty in (None, Nothing())
    )
    torch.testing.assert_close(alone(pairs()), joint(pairs()), rtol=1e-9, atol=1e-9)


def test_what_is_frozen_stays_and_what_is_not_moves() -> None:
    model = members()
    model.backbone.requires_grad_(False)
    before = {k: v.clone() for k, v in model.weights().items()}
    trained(model, pairs(), loss=loss, loop=LOOP)
    for name, w in model.weights().items():
        assert torch.equal(w, before[name]) is name.startswith("backbone."), name


def test_a_loss_that_tells_members_apart_is_refused() -> None:
    weight = torch.arange(3.0)[:, None]
    with pytest.raises(InputError, match=r"has shape \[3, 8\], not \[1, 8\].*may not compare them"):
        trained(members(), pairs(), loss=lambda a, b, *_: weight * (a - b), loop=LOOP)
