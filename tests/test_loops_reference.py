"""The reference is read once a step, however many epochs, losses and rewards ask for it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from small import small_world
from test_contract import drive

from assay.core import Loop, Samples, World
from assay.loops import reference as module
from assay.recipes import correlated_proxies, dpo, grpo, kl_in_loss

SIZES = {"max_steps": 2, "batch_size": 4, "num_generations": 4}
SEVERAL = Loop(**SIZES, epochs=3, mini_batch_size=2)


class Counting:
    """Counts the completions of which a world's reference is asked the log-probability."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch):
        self.asked, own = 0, world.task.reference.logp

        def logp(samples: Samples) -> Any:
            self.asked += int(samples.present.sum())
            return own(samples)

        patch.setattr(world.task.reference, "logp", logp)


@pytest.mark.parametrize("recipe", [grpo, kl_in_loss, dpo], ids=lambda r: r.__name__[-11:])
def test_several_epochs_ask_the_reference_once(recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    world = small_world(recipe)
    counting = Counting(world, monkeypatch)
    drive(recipe, world, loop=SEVERAL)
    each = 2 if recipe is dpo else SIZES["num_generations"]
    assert counting.asked == SIZES["max_steps"] * SIZES["batch_size"] * each
    once = drive(recipe, world, loop=SEVERAL)
    counting.asked = 0
    for name in ("online", "pairs"):
        loops = sys.modules[f"assay.loops.{name}"]
        monkeypatch.setattr(loops, "known_for_epochs", lambda _, x, __: x)
    every_time = drive(recipe, world, loop=SEVERAL)
    assert counting.asked == 3 * SIZES["max_steps"] * SIZES["batch_size"] * each
    assert [r["kl"] for r in once] == pytest.approx([r["kl"] for r in every_time], abs=1e-12)
    assert [r["stats"] for r in once] == [pytest.approx(r["stats"], abs=1e-9) for r in every_time]


def test_reward_and_loss_ask_the_reference_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = small_world(grpo)
    counting = Counting(world, monkeypatch)
    drive(correlated_proxies, world, {"of": "sequence", "released": True}, loop=Loop(**SIZES))
    assert counting.asked == SIZES["max_steps"] * SIZES["batch_size"] * SIZES["num_generations"]


def test_what_is_known_goes_with_its_rows() -> None:
    world = small_world(grpo)
    reference, prompts = world.task.reference, world.task.prompts
    x = reference.copy().sample(prompts[:4], 3, world.task.rng("law"))
    known = module.reference_known(reference, x)
    for rows in (slice(1, 3), slice(0, 1)):
        part = module.with_reference_logp(reference, known[rows])
        assert part.logp == pytest.approx(reference.logp(x[rows]), abs=1e-12)
    wide = x.mask.shape[2] + 2
    padded = module.with_reference_logp(reference, known.widened(wide)).logp
    assert padded == pytest.approx(reference.logp(x.widened(wide)), abs=1e-12)
