"""Policies of several sizes: each has its own reference, and each run is the recipe's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from small import FOLDER, SIZES

from assay.core import Carry, InputError, Loop, World
from assay.loops.language_models import nats_per_token
from assay.loops.policy_sizes import Look, accuracy, curve, fine_tuned, places, resized
from assay.recipes import direct_alignment
from assay.recipes.direct_alignment_sizes import Runs, laws, study
from assay.stats.effects import gained, late_fall
from assay.worlds import grammar, table

TINY: dict[str, Any] = {"widths": (16, 8), "steps": 4, "batch": 5, "look": 2, "reads": 2}
TINY |= {"few": 10, "sft_steps": 3, "betas": (0.1, 0.3), "many": ("ipo",)}


@pytest.fixture(scope="module")
def world() -> World:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", FOLDER)
        return grammar.world(**SIZES["grammar"], seed=1)


@pytest.fixture(scope="module")
def lines(world: World) -> list[dict[str, Any]]:
    return list(study(world, **TINY))


def readings(golds: list[float], ds: list[float]) -> list[dict[str, Any]]:
    return [
        {"step": t, "tag": "", "kl": d * d, "gold": g}
        for t, (g, d) in enumerate(zip(golds, ds, strict=True))
    ]


def test_a_policy_of_the_same_width_has_as_many_parameters_and_the_same_sampling(
    world: World,
) -> None:
    old: Any = world.task.reference
    same, wide = (resized(old, w, world.task.rng("test")) for w in (16, 32))
    shapes = [{k: v.shape for k, v in p.state_dict().items()} for p in (old, same, wide)]
    assert shapes[0] == shapes[1] and shapes[0].keys() == shapes[2].keys()
    assert shapes[2]["backbone.model.embed_tokens.weight"][1] == 32
    for p in (same, wide):
        assert p.vocabulary is old.vocabulary
        for name in ("temperature", "top_k", "top_p", "max_tokens", "min_tokens"):
            assert getattr(p, name) == getattr(old, name)
    for width in (0, 12):
        with pytest.raises(InputError, match=f"--widths has {width}; with 4 heads"):
            resized(old, width, world.task.rng("test"))
    bandit = table.world(testbed="bandit", prompts=2, members=1, pairs=40)
    with pytest.raises(InputError, match="--world grammar"):
        resized(bandit.task.reference, 16, world.task.rng("test"))


def test_fine_tuning_lowers_the_loss_of_demonstrations_and_freezes(world: World) -> None:
    fresh = resized(world.task.reference, 8, world.task.rng("test"))
    demos = world.task.demos
    before = nats_per_token(fresh, demos)
    loop = Loop(max_steps=10, batch_size=20, learning_rate=1e-2)
    tuned = fine_tuned(fresh, demos, loop, world.task.rng("test"))
    assert nats_per_token(tuned, demos) < before
    assert not any(p.requires_grad for p in tuned.parameters())


def test_accuracy_counts_pairs_that_moved_as_labeled(world: World) -> None:
    """The reference has moved nothing, a policy of the labels all, and one of the labels turned
    round the others.
    """
    reference, pairs = world.task.reference, world.task.pairs
    assert accuracy(reference, reference, pairs) == 0.5
    last = reference
    loop = Loop(max_steps=30, batch_size=len(pairs), learning_rate=5e-3)
    for step in direct_alignment.recipe(world.task.replaced(carry=Carry()), loop=loop):
        last = step.policy  # type: ignore[assignment]
    right, turned = (
        accuracy(last, reference, p)
        for p in (pairs, pairs.pick(torch.tensor([1, 0]).expand(len(pairs), 2)))
    )
    assert right > 0.8 and turned == pytest.approx(1 - right)


def test_places_are_closer_at_the_beginning_and_reach_the_end() -> None:
    for steps, reads in ((60, 8), (125, 10), (3, 8), (1, 1)):
        at = places(steps, reads)
        assert at[-1] == steps and at[0] >= 1 and len(at) <= reads
        assert at == sorted(set(at))
    gaps = [b - a for a, b in zip([0, *places(60, 8)], places(60, 8), strict=False)]
    assert gaps == sorted(gaps)


@pytest.mark.full
def test_a_run_of_the_study_is_the_recipe_from_its_own_reference(
    world: World, lines: list[dict[str, Any]]
) -> None:
    """By hand: the narrow policy at the rate, the wide one at half of it, on the first pairs."""
    task, rng = world.task, world.task.rng("policy sizes")
    assert world.gold is not None
    look = Look(world.held_out, world.gold, 2, rng("read"))
    sft = Loop(max_steps=3, batch_size=64, learning_rate=1e-2, warmup_steps=20)
    for width, rate in ((8, 3e-3), (16, 1.5e-3)):
        fresh = resized(task.reference, width, rng("weights", width))
        reference = fine_tuned(fresh, task.demos[6:], sft, rng("imitate", width))
        for which, data, beta in (("few", task.pairs[:10], 0.3), ("many", task.pairs, 0.1)):
            mine = task.replaced(reference=reference, pairs=data, carry=Carry(), rng=rng("train"))
            loop = Loop(max_steps=4, batch_size=5, learning_rate=rate, warmup_steps=5)
            run = direct_alignment.recipe(mine, loss="ipo", beta=beta, loop=loop)
            _, found = curve(run, reference, look, [1, 4])
            said = Runs(lines).of[which, width, "ipo", beta]
            assert said["readings"] == [look(reference, reference, 0), *found]
            assert said["readings"][0]["kl"] == pytest.approx(0.0, abs=1e-6)
            assert found[-1]["kl"] > 0


def test_the_table_is_whole_and_says_what_a_run_spent(
    world: World, lines: list[dict[str, Any]]
) -> None:
    kinds = [x["kind"] for x in lines]
    assert {k: kinds.count(k) for k in set(kinds)} == {
        "size": 2,
        "run": 2 * (3 * 2 + 1),
        "law": 2 * 3,
        "spent": 2 * 2,
    }
    sizes = [x for x in lines if x["kind"] == "size"]
    assert [x["width"] for x in sizes] == [8, 16]
    assert sizes[0]["parameters"] < sizes[1]["parameters"]
    for x in lines:
        if x["kind"] == "spent":
            assert (x["updates"], x["generated"], x["scored"]) == (4, 0, 0)
            assert x["labels"] == (10 if "few" in x["arm"] else len(world.task.pairs))
    start = {x["readings"][0]["gold"] for x in lines if x["kind"] == "run" and x["width"] == 8}
    assert start == {sizes[0]["gold"]}, "every run of a size begins at its reference"


@pytest.mark.full
def test_all_pairs_as_few_pairs_are_the_same_run(world: World) -> None:
    """So that the control differs in the pairs alone."""
    alike = {**TINY, "few": len(world.task.pairs), "losses": ("ipo",)}
    runs = Runs(list(study(world, **alike)))
    few, many = (runs.of[which, 8, "ipo", 0.1] for which in ("few", "many"))
    assert few["readings"] == many["readings"]


def test_a_law_gives_back_the_constants_that_made_its_curves() -> None:
    ds = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]
    found = {
        (loss, beta): readings(
            [4.0] + [4.0 + d * (a - 0.7 * math.log(d)) for d in ds[1:]], [d * s for d in ds]
        )
        for loss, a in (("dpo", 1.0), ("slic", 0.4))
        for beta, s in ((0.1, 1.0), (0.3, 1.0))
    }
    for line, alpha in zip(laws(8, ("dpo", "slic"), found), (1.0, 0.4), strict=True):
        assert line["alpha"] == pytest.approx(alpha)
        assert line["beta_of_law"] == pytest.approx(0.7)
        assert line["d_peak"] == pytest.approx(math.exp(alpha / 0.7 - 1))
    short = {("dpo", 0.1): readings([1.0, 2.0], [0.0, 1.0])}
    assert next(laws(8, ("dpo",), short))["beta_of_law"] is None


def test_gold_above_the_reference_and_the_fall_of_the_second_half() -> None:
    run = readings([2.0, 3.0, 5.0, 1.0], [0.0, 1.0, 2.0, 4.0])
    assert [r["gold"] for r in gained(run)] == [0.0, 1.0, 3.0, -1.0]
    assert late_fall(run) == late_fall(gained(run)) == 4.0
    assert late_fall(readings([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])) == -1.0
    back = readings([0.0, 2.0, -1.0, 9.0], [0.0, 1.0, 2.0, 1.5])
    assert late_fall(back) == 3.0, "the place is where the run came farthest"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"widths": (8,)}, "--widths"),
        ({"betas": (0.1,)}, "--betas"),
        ({"few": 0}, "--few is 0"),
        ({"few": 41}, "--few is 41, of 40 pairs"),
        ({"losses": ("kto",)}, "--loss is 'kto'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    world: World, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        list(study(world, **{**TINY, **change}))
