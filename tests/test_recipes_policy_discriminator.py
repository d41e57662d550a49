"""Policies are told apart, references are averaged, and a policy is trained against the result."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_fit_parts import PAIRS

from assay.core import Carry, InputError, Loop, Rng, Samples, World
from assay.engine.parallel import meter
from assay.recipes.policy_discriminator import exchanged, recipe
from assay.rewards.discriminator import TOKENS, Discriminator, beside, triples
from assay.rewards.fit import bradley_terry_fitted
from assay.rewards.policy_triples import by_prompt, compared, right, tilts
from assay.worlds import table


@pytest.fixture(scope="module")
def world() -> World:
    return table.world(testbed="bag", pairs=150, members=3, seed=1)


def test_policies_are_told_apart_and_the_first_answer_is_never_the_second(world: World) -> None:
    many = tilts(world.task.reference, 6, Rng(2), styles=2, strength=2.0)
    shown, oracle = compared(many, world.task.prompts, 400, Rng(3))
    assert 0.9 < oracle <= 1
    copied = (shown.prompts.extra[TOKENS][:, 0] == shown.action[:, 0]).all(-1).float().mean()
    assert float(copied) < 0.02
    loop = Loop(max_steps=60, batch_size=64, learning_rate=5e-3)
    judge = bradley_terry_fitted(Discriminator(60, 16, Rng(0)), shown, loop=loop)
    assert right(judge(shown)[0]) > 0.75


def test_exchanged_references_say_nothing_of_whose_completions_follow(world: World) -> None:
    many = tilts(world.task.reference, 6, Rng(2), styles=2, strength=2.0)
    shown, _ = compared(many, world.task.prompts, 1600, Rng(3))
    broken = exchanged(shown, Rng(4))
    assert torch.equal(broken.action, shown.action)
    ours, theirs = broken.prompts.extra[TOKENS], shown.prompts.extra[TOKENS]
    assert not torch.equal(ours, theirs)
    assert sorted(ours.flatten(1).tolist()) == sorted(theirs.flatten(1).tolist())
    loop = Loop(max_steps=60, batch_size=64, learning_rate=5e-3)
    new, _ = compared(many, world.task.prompts, 1600, Rng(5))
    fair, blind = (
        right(bradley_terry_fitted(Discriminator(60, 16, Rng(0)), x, loop=loop)(new)[0])
        for x in (shown, broken)
    )
    assert fair > blind + 0.1


def trained(world: World, **more: object) -> tuple[list[dict[str, float]], float, dict[str, int]]:
    """The statistics of a short run, how like the demonstrations it ends, and what it spent."""
    task = world.task.replaced(carry=Carry(), rng=Rng(0))
    small = {"tilted": 8, "unseen": 4, "triples_each": 600, "updates": 40, "tuning": 10}
    loop = Loop(max_steps=12, batch_size=16, num_generations=16, learning_rate=0.05)
    spent = dict.fromkeys(meter.counts, 0)
    with meter.charging(spent):
        steps = list(recipe(task, **{**small, **more}, loop=loop))  # type: ignore[arg-type]
    assert steps[-1].policy is not None and steps[-1].reward is not None
    before = task.reference.sample(task.prompts, 64, Rng(9))
    after = steps[-1].policy.sample(task.prompts, 64, Rng(9))
    gain = float(steps[-1].reward(after).mean() - steps[-1].reward(before).mean())
    return [s.stats for s in steps], gain, spent


def test_a_policy_is_trained_towards_the_discriminator_s_reward(world: World) -> None:
    stats, gain, spent = trained(world)
    assert gain > 0.5  # in standard deviations of the reward under the reference
    assert stats[0]["discriminator/oracle"] > stats[0]["discriminator/accuracy"] > 0.5
    assert {s["discriminator/accuracy"] for s in stats} == {stats[0]["discriminator/accuracy"]}
    assert spent["updates"] == 12 + 40 + 10
    _, _, broken = trained(world, start="shuffled")
    assert {k: broken[k] for k in spent} == spent


def test_the_rivals_train_a_policy_and_measure_no_discriminator(world: World) -> None:
    for start, updates in (("bradley_terry", 12), ("scratch", 12 + 10)):
        stats, gain, spent = trained(world, start=start)
        assert gain > 0.2 and "discriminator/accuracy" not in stats[-1]
        assert spent["updates"] == updates
    _, dear, _ = trained(world, start="bradley_terry", beta=100.0)
    assert abs(dear) < 0.3
    with pytest.raises(InputError, match="--start is 'polar'"):
        trained(world, start="polar")
    with pytest.raises(InputError, match="told apart from 2 on"):
        trained(world, tilted=1)


def test_demonstrations_are_gathered_by_prompt(world: World) -> None:
    demos = by_prompt(world.task.demos)
    assert demos.prompts.row.tolist() == list(range(16)) and demos.mask.shape[1] == 12
    every = {tuple(a) for a in world.task.demos.action[:, 0].tolist()}
    assert all(tuple(a) in every for row in demos.action.tolist() for a in row)


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


def test_policies_of_pretraining_differ_in_quality_where_they_are_trained(world: World) -> None:
    facts = world.facts
    assert facts is not None

    def gold(**more: object) -> torch.Tensor:
        made = tilts(world.task.reference, 24, Rng(2), styles=4, strength=0.3, **more)  # type: ignore[arg-type]
        return torch.tensor([facts(p)["gold"] for p in made])

    trained_ones, strange = gold(pairs=world.task.pairs, quality=1.0), gold()
    assert float(trained_ones.mean()) > float(strange.mean()) + 0.2
    assert float(trained_ones.std()) > float(strange.std())
    assert torch.equal(gold(pairs=world.task.pairs), strange)
    stats = {q: trained(world, quality=q)[0][0]["discriminator/better"] for q in (0.0, 1.5)}
    assert stats[1.5] > stats[0.0] + 0.3
