"""The studies of reward models: what each says, by hand and on small worlds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_fit_parts import PAIRS

from assay.core import InputError, Loop, Rng, Samples, World
from assay.recipes import (
    meta_rm,
    policy_discriminator,
    pretrain_ensemble,
)
from assay.rewards.discriminator import Discriminator, beside, triples
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
    assert meta_rm.accuracy(score, truth) == 0.75  # right, a tie, and one without an order
    with pytest.raises(InputError, match="no two of these completions differ"):
        meta_rm.accuracy(score, torch.zeros_like(score))


def test_the_studies_say_what_they_promise(world: World) -> None:
    refit = world.refit
    assert refit is not None
    quick = replace(
        world, refit=lambda by: refit(lambda m, p, loop: by(m, p, replace(loop, max_steps=25)))
    )
    lines = list(meta_rm.study(quick, kl=(0.02, 0.05), draws=4, pairs=128))
    assert (
        [line["level"] for line in lines] == [0, 1]
        and lines[0]["kl"] >= 0.02
        and lines[1]["kl"] >= 0.05
    )
    assert all(0 <= line[k] <= 1 for line in lines for k in ("plain", "meta", "random", "calm"))
    lines = list(pretrain_ensemble.study(quick, most=8, prompts=8, feature="tokens:12-12"))
    errors = {
        (line["ensemble"], line["samples"]): line["correlation"]
        for line in lines
        if line["kind"] == "errors"
    }
    assert errors["finetune", "reference"] > errors["pretrain", "reference"] + 0.1
    start = {line["gold"] for line in lines if line["kind"] == "best_of_n" and line["n"] == 1}
    assert max(start) - min(start) < 1e-9 and len(lines) == 4 + 7 * 4  # at n = 1 nobody chooses


def test_error_correlation_of_the_same_and_of_strangers() -> None:
    gold, noise = (
        torch.randn(6, 200, dtype=torch.float64),
        torch.randn(2, 6, 200, dtype=torch.float64),
    )
    noise = noise - noise.mean(-1, keepdim=True)
    even = torch.full((6, 200), 1 / 200, dtype=torch.float64)
    same = torch.stack([noise[0] + 2 * gold, 3 * noise[0] - gold])
    assert pretrain_ensemble.correlation(same, gold, even) == pytest.approx(1, abs=2e-2)
    assert abs(pretrain_ensemble.correlation(noise + gold, gold, even)) < 0.1
    assert (
        pretrain_ensemble.correlation(torch.zeros(2, 6, 200, dtype=torch.float64), gold, even) == 0
    )


def test_policies_are_told_apart_and_the_first_answer_is_never_the_second(world: World) -> None:
    many = policy_discriminator.tilts(world.task.reference, 6, Rng(2), styles=2, strength=2.0)
    shown, oracle = policy_discriminator.compared(many, world.task.prompts, 400, Rng(3))
    assert 0.9 < oracle <= 1
    copied = (shown.prompts.extra["reference"][:, 0] == shown.action[:, 0]).all(-1).float().mean()
    assert float(copied) < 0.02
    loop = Loop(max_steps=60, batch_size=64, learning_rate=5e-3)
    judge = policy_discriminator._fit(Discriminator(60, 16, Rng(0)), shown, loop)
    assert policy_discriminator.right(judge(shown)[0]) > 0.75
    lines = list(
        policy_discriminator.study(world, numbers=(2, 4), unseen=3, triples_each=100, updates=4)
    )
    assert [line["kind"] for line in lines] == ["policies"] * 2 + ["labels"] * 3
    assert lines[0]["overlap"] == lines[1]["overlap"] and lines[2]["scratch"] is None


def test_a_discriminator_s_references_are_averaged_and_asked_for() -> None:
    model = Discriminator(9, 4, Rng(0))
    one: Samples = PAIRS[torch.arange(3)]
    two = beside(one, one)
    each = [model(beside(one, one.pick(torch.full((3, 1), k)))) for k in range(2)]
    assert torch.allclose(model(two), sum(each) / 2, atol=1e-6)
    judge = model.freeze(("like",)).against(
        replace(one, prompts=replace(one.prompts, row=torch.arange(3)))
    )
    asked = replace(one, prompts=replace(one.prompts, row=torch.arange(3)))
    assert torch.allclose(judge(asked), model(two), atol=1e-6) and model.read.requires_grad
    with pytest.raises(InputError, match="needs a reference completion"):
        model(one)
    made = triples(
        one.pick(torch.zeros(3, 1, dtype=torch.int64)),
        one.pick(torch.zeros(3, 1, dtype=torch.int64)),
        one.pick(torch.ones(3, 1, dtype=torch.int64)),
    )
    assert torch.equal(made.action, one.action) and made.mask.shape[1] == 2


def effect_of(module: Any, arms: dict[str, Any]) -> float:
    value: float = module.claim.effect(arms)
    return value


def test_claims_count_from_the_right_lines() -> None:
    a = {"kind": "policies", "accuracy": 0.8, "overlap": 0.7, "perplexity": 0.6, "length": 0.5}
    mine, free = [{**a, "accuracy": 0.1}, a, {"kind": "labels"}], [{**a, "accuracy": 0.6}]
    both = policy_discriminator.claim.effect({"mine": mine, "free": free})
    assert both == {"shared directions": pytest.approx(0.1), "free": pytest.approx(-0.1)}
    lines = [
        {"meta": 0.6, "plain": 0.5, "random": 0.55},
        {"meta": 0.5, "plain": 0.5, "random": 0.4},
    ]
    assert effect_of(meta_rm, {"mine": lines}) == pytest.approx(0.025)
    with pytest.raises(ValueError, match="ended before"):
        effect_of(meta_rm, {"mine": []})
