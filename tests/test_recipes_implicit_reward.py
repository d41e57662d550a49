"""Imitation by f-divergences: its first step by hand, where it stops, and the study of rates."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from assay.core import Carry, InputError, Loop, World
from assay.formulas.implicit_reward import LOSSES
from assay.loops import imitated
from assay.recipes import implicit_reward, sft
from assay.recipes.sft_then_dpo import of_rates, study
from assay.worlds import study as no_world
from assay.worlds import table

LOOP = Loop(max_steps=3, batch_size=10, learning_rate=0.05)


@pytest.fixture(scope="module")
def world() -> World:
    made = table.world(pairs=60, demos=30, members=1, vocabulary=20, length=4, prompts=4, seed=2)
    made.task.reference.double()  # type: ignore[attr-defined]
    return made


def steps(world: World, recipe: Any = implicit_reward.recipe, **how: Any) -> list[Any]:
    how = {"imitate": "demos", "loop": LOOP, **how}
    return list(recipe(world.task.replaced(carry=Carry()), **how))


@pytest.mark.parametrize("divergence", LOSSES)
def test_at_the_reference_every_loss_is_f_of_zero_and_moves_as_sft(
    divergence: str, world: World
) -> None:
    first, second, *_ = steps(world, divergence=divergence, beta=0.3)
    assert first.stats["rewards/imitated"] == pytest.approx(0, abs=1e-9)
    assert first.stats["loss"] == pytest.approx(0.36787944 if divergence == "kl" else 0, abs=1e-6)
    assert second.stats["rewards/imitated"] > 0, "demonstrations become likelier"
    theirs = steps(world, sft.recipe)[0].stats["grad_norm"]
    share = 0.3 * (0.36787944 if divergence == "kl" else 1)
    assert first.stats["grad_norm"] == pytest.approx(share * theirs, rel=1e-5)


@pytest.mark.full
def test_pearson_stops_at_two_over_beta_and_sft_does_not(world: World) -> None:
    """A few demonstrations alone, learned by heart: u ends at 2, and SFT's goes on."""
    few = imitated(world.task, "demos")[:1]
    task = world.task.replaced(demos=few, carry=Carry())
    loop, ends = Loop(max_steps=300, batch_size=1, learning_rate=0.05), {}
    for divergence in ("pearson", "linear"):
        how: dict[str, Any] = {"divergence": divergence, "beta": 0.5, "imitate": "demos"}
        run = implicit_reward.recipe(task.replaced(carry=Carry()), loop=loop, **how)
        ends[divergence] = list(run)[-1].stats["rewards/imitated"]
    assert ends["pearson"] == pytest.approx(2, abs=0.02) and ends["linear"] > 2.5


def test_misplaced_probabilities_change_the_loss_and_not_what_it_imitates(world: World) -> None:
    own, other = (steps(world, misplaced=m) for m in (False, True))
    assert abs(other[0].stats["rewards/imitated"] - own[0].stats["rewards/imitated"]) < 1e-6, (
        "a batch's mean of log π₀ stays"
    )
    assert other[0].stats["loss"] > own[0].stats["loss"] + 1e-3, "the rewards' squares do not"
    same = (steps(world, misplaced=m, divergence="linear")[-1].policy.logits for m in (False, True))
    torch.testing.assert_close(*same)  # where the KL term is a constant, whose it is has no say


def test_tokens_are_another_loss_than_their_sum(world: World) -> None:
    whole, each = (steps(world, per_token=p, beta=1.0)[-1].stats["loss"] for p in (False, True))
    assert whole != pytest.approx(each, rel=1e-3)
    whole, each = (
        steps(world, per_token=p, divergence="linear")[-1].policy.logits for p in (False, True)
    )
    torch.testing.assert_close(whole, each)  # a sum of a linear f* is the f* of the sum


def test_what_is_not_known_is_said(world: World) -> None:
    with pytest.raises(InputError, match="--divergence is 'js'; it is one of linear, pearson"):
        steps(world, divergence="js")
    with pytest.raises(InputError, match="--beta is 0; it must be above 0"):
        steps(world, beta=0)
    with pytest.raises(InputError, match="--batch-size is 1 and there are 30 demonstrations"):
        steps(world, misplaced=True, loop=Loop(max_steps=1, batch_size=1))


TINY: dict[str, Any] = {"sft_steps": 6, "most": 300, "every": 1, "batch": 12, "dpo_steps": 4}


@pytest.fixture(scope="module")
def lines(world: World) -> list[dict[str, Any]]:
    return list(study(world, rates=(0.02, 0.2), reads=2, **TINY))


def test_every_rate_ends_at_the_loss_of_the_largest(lines: list[dict[str, Any]]) -> None:
    large, small = (x for x in lines if x["kind"] == "start")
    assert (large["rate"], large["steps"], small["rate"]) == (0.2, 6, 0.02)
    assert 6 < small["steps"] < 300 and small["loss"] <= large["loss"] < small["loss"] + 0.1
    assert of_rates(lines, "start", "rate") == [0.2, 0.02]


def test_each_start_is_the_reference_of_the_same_dpo(lines: list[dict[str, Any]]) -> None:
    for start, run in zip(
        *([x for x in lines if x["kind"] == k] for k in ("start", "run")), strict=True
    ):
        assert run["kl"] != start["kl"] > 0 and run["readings"][-1]["step"] == 4
        assert run["gold"] == run["readings"][-1]["gold"]
    spent = [x for x in lines if x["kind"] == "spent"]
    assert [x["updates"] for x in spent] == [x["steps"] + 4 for x in lines if x["kind"] == "start"]


def test_it_is_the_same_again_and_its_world_is_left_alone(
    world: World, lines: list[dict[str, Any]]
) -> None:
    again = list(study(world, rates=(0.02, 0.2), reads=2, **TINY))
    timeless = [[x for x in each if x["kind"] != "spent"] for each in (lines, again)]
    assert timeless[0] == timeless[1]
    assert not any(p.requires_grad for p in world.task.reference.parameters())


def test_what_the_study_cannot_run_is_said(world: World) -> None:
    for how, said in (({"most": 3}, "--most 3"), ({"rates": ()}, r"--rates is \[\]")):
        with pytest.raises(InputError, match=said):
            next(study(world, **{**TINY, **how}))
    with pytest.raises(InputError, match="no gold"):
        next(study(no_world.world(seed=0)))
