"""The studies of reward models: what each says, by hand and on small worlds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_fit_parts import PAIRS

from assay.core import InputError, World
from assay.recipes import meta_rm
from assay.worlds import table

U = torch.tensor([-3.0, -1.0, 0.5, 2.0, -0.2])
FIVE = replace(PAIRS[torch.arange(5)], margin=torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]))


@pytest.fixture(scope="module")
def world() -> World:
    return table.world(testbed="bag", pairs=150, members=3, seed=1)


def linear_of(world: World) -> Any:
    kept: list[Any] = []
    assert world.refit is not None

    def by(model: Any, pairs: Any, loop: Any) -> Any:
        kept.append(model)
        return model.freeze(tuple(f"judge{m}" for m in range(model.members)))

    world.refit(by)
    return kept[0]


def test_spread_and_accuracy_by_hand() -> None:
    scores = torch.tensor([[[0.0, 0.0, 50.0]]])
    assert float(meta_rm.spread(scores)) == pytest.approx(1 / 3)  # ½ for two of the three pairs
    score, truth = (
        torch.tensor([[1.0, 0.0, 2.0, 2.0, 0.0, 1.0]]),
        torch.tensor([[3.0, 1.0, 0.0, 1.0, 5.0, 5.0]]),
    )
    assert meta_rm.accuracy(score[None], truth) == 0.75  # right, a tie, and one without an order
    both = torch.stack([score, -score])
    assert meta_rm.accuracy(both, truth) == 0.5  # the mean over members, one of them turned round
    with pytest.raises(InputError, match="no two of these completions differ"):
        meta_rm.accuracy(score[None], torch.zeros_like(score))


@pytest.mark.full
def test_the_studies_say_what_they_promise(world: World) -> None:
    refit = world.refit
    assert refit is not None
    quick = replace(
        world, refit=lambda by: refit(lambda m, p, loop: by(m, p, replace(loop, max_steps=25)))
    )
    found = {
        ascent: list(meta_rm.study(quick, ascent=ascent, kl=(0.02, 0.05), draws=4, pairs=128))
        for ascent in meta_rm.ASCENTS
    }
    for ascent, (*lines, spent) in found.items():
        assert [line["level"] for line in lines] == [0, 1]
        assert lines[0]["kl"] >= 0.02 and lines[1]["kl"] >= 0.05
        assert [line["kl"] for line in lines] == [line["kl"] for line in found["none"][:-1]]
        assert all(0 <= line[k] <= 1 for line in lines for k in ("accuracy", "home", "spread"))
        assert spent["updates"] == 50 and spent["labels"] == 150
        assert spent["generated"] == (0 if ascent == "none" else 2 * 4 * len(world.task.prompts))
    *lines, spent = meta_rm.study(quick, kl=(), rounds=2, moves=3, draws=4, pairs=64)
    assert [line["level"] for line in lines] == [0, 1]
    assert 0 < lines[0]["kl"] < lines[1]["kl"], "a round goes on where the last one ended"
    assert spent["updates"] == 50
    with pytest.raises(InputError, match="it is one of policy, none"):
        next(meta_rm.study(quick, ascent="up"))


def effect_of(module: Any, arms: dict[str, Any]) -> Any:
    return module.claim.effect(arms)


def test_claims_count_from_the_right_lines() -> None:
    mine, plain, none = (
        [{"kind": "accuracy", "accuracy": a, "home": 0.7}, {"kind": "spent"}]
        for a in (0.6, 0.5, 0.65)
    )
    rounds, flat = ([{"kind": "round", "gold": g} for g in golds] for golds in ((0, 1, 2), (1, 1)))
    arms = {"meta": mine, "plain": plain, "random": none, "unshifted": plain}
    arms |= {"meta rounds": rounds, "plain rounds": flat, "random rounds": flat}
    assert effect_of(meta_rm, arms) == {
        "rounds over plain": 0.0,
        "rounds over random": 0.0,
        "rounds rise": 2.0,
        "shift": pytest.approx(0.2),
        "over plain": pytest.approx(0.1),
        "over random": pytest.approx(-0.05),
        "over unshifted": pytest.approx(0.1),
    }
    with pytest.raises(ValueError, match="ended before"):
        effect_of(meta_rm, {**arms, "meta": [{"kind": "spent"}]})
