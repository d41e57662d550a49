"""What labelers of world table like beside gold, and what they do not know."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from assay.core import Rng
from assay.errors import InputError
from assay.worlds.table import world
from assay.worlds.table_testbeds import extremes


def test_a_taste_for_extremes_shows_in_no_correlation() -> None:
    """Over all numbers of rare tokens with their binomial chances, by hand."""
    taste = extremes(12).double()
    chance = torch.tensor([math.comb(12, k) * 0.2**k * 0.8 ** (12 - k) for k in range(13)])
    k = torch.arange(13.0, dtype=torch.float64)
    centred = k - float(chance.double() @ k)
    assert abs(float((chance.double() * centred) @ taste)) < 1e-6
    assert taste[0] > taste[1] > taste[2] and taste[3] < taste[6] < taste[12]
    x = world(seed=3, bias=3.0, taste="extremes", pairs=2000, noise=0.0).task.pairs
    rare = (x.action >= 12).sum(-1)
    liked, gold = taste[rare], world(seed=3).gold
    assert gold is not None
    assert float((liked[:, 0] - liked[:, 1]).mean()) > 0.5
    assert abs(float((rare[:, 0] - rare[:, 1]).float().mean())) < 0.25


def test_specialists_are_right_of_what_they_know_alone() -> None:
    kind: dict[str, Any] = {"testbed": "bandit", "mode": "idiosyncratic", "pairs": 2000}
    w = world(seed=3, specialists=2.0, members=8, **kind)
    x = w.task.reference.sample(w.task.prompts, 400, Rng(1))
    assert w.gold is not None
    gold, common = w.gold(x)[0], x.action[..., 0] < 20
    along = [
        float(torch.corrcoef(torch.stack([s[common], gold[common]]))[0, 1])
        for s in w.task.rewards(x)
    ]
    assert min(along[::2]) > 0.6 and abs(sum(along[1::2])) / 4 < 0.4


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"taste": "none"}, "one of more, extremes"),
        ({"taste": "extremes", "testbed": "bandit"}, "--world.testbed bag"),
        ({"specialists": 1.0}, "--world.testbed bandit --world.mode idiosyncratic"),
    ],
)
def test_tastes_need_their_testbed(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        world(**wrong)
