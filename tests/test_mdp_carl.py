"""Progress times penalties, and where an episode ends; what these recipes say to who asks the wrong
world.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from assay.core import InputError, Missing, Rng
from assay.models.policies.markov import acting
from assay.recipes import barfi, carl, correlated_proxies, reward_design
from assay.worlds.table import world


def test_the_product_is_progress_times_what_each_event_leaves() -> None:
    progress = torch.tensor([0.1, 0.2, 0.1, 0.0])
    events = {
        "offlane": torch.tensor([0.0, 1.0, 1.0, 1.0]),
        "rush": torch.tensor([0.0, 1.0, 0.0, 1.0]),
    }
    got = carl.product(progress, events, {"offlane": 0.5, "rush": 0.8})
    torch.testing.assert_close(got, torch.tensor([0.1, 0.2 * 0.4, 0.05, 0.0]))
    torch.testing.assert_close(carl.product(progress, events, {}), progress)


def test_an_episode_lasts_up_to_its_first_hard_event() -> None:
    event = torch.tensor(
        [[0.0, 0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0, 0.0]]
    )
    assert carl.until(event).long().sum(-1).tolist() == [3, 5, 1]


@pytest.mark.parametrize(
    ("arguments", "want"), [({}, "progress"), ({"design": "sum", "terminate": False}, "shaped")]
)
def test_the_proxy_of_a_step_is_the_testbed_s_own_where_both_have_it(
    arguments: dict[str, Any], want: str
) -> None:
    """The sum's default weights are those of the testbed's shaped proxy; a product without
    infractions is the progress.
    """
    w = world(testbed="road", pairs=20)
    step = next(
        carl.recipe(w.task, **arguments, offlane=1.0, rush=1.0)
        if not arguments
        else carl.recipe(w.task, **arguments)
    )
    x = acting(w.task.reference).sample(w.held_out, 8, Rng(0))
    judges = dict(zip(w.task.rewards.names, w.task.rewards(x), strict=True))
    assert step.reward is not None
    clean = (
        judges["collision"] == 0
        if not arguments
        else torch.ones_like(judges["collision"], dtype=torch.bool)
    )
    torch.testing.assert_close(step.reward(x)[clean], judges[want][clean])
    assert int(clean.sum()) > 0 and (bool(arguments) or int((~clean).sum()) > 0)


def test_a_product_that_gains_nothing_does_not_show_that_it_gains() -> None:
    """Falling less than the sums do is not gaining: the effect is above 0 only where the product's
    own gain is.
    """

    def arms(product: float, weighted: float) -> dict[str, Any]:
        gain = {"product": product, "sum": weighted, "tuned": weighted}
        return {
            f"{name} {size}": [{"tag": "", "gold": gain[name] * (size > 64)}]
            for name in carl.DESIGNS
            for size in carl.SIZES
        }

    effect = carl.claim.effect
    assert effect is not None

    def least(product: float, weighted: float) -> float:
        parts = effect(arms(product, weighted))
        assert isinstance(parts, dict)
        return min(parts.values())

    assert least(-0.1, -0.5) < 0 < least(0.3, 0.1) and least(0.3, 0.4) < 0


def test_the_wrong_world_is_one_sentence() -> None:
    bag, tomato = world(pairs=20, demos=5), world(testbed="tomato", pairs=20, members=2)
    with pytest.raises(Missing, match="no term 'progress'"):
        next(carl.recipe(tomato.task))
    for recipe in (barfi.recipe, reward_design.recipe, correlated_proxies.recipe):
        with pytest.raises(InputError, match="needs a decision process"):
            next(recipe(bag.task))
    with pytest.raises(InputError, match="below 1"):
        next(reward_design.recipe(tomato.task))
    for recipe, wrong in (
        (carl.recipe, {"design": "x"}),
        (barfi.recipe, {"blend": "x"}),
        (reward_design.recipe, {"design": "x"}),
        (correlated_proxies.recipe, {"of": "x"}),
    ):
        with pytest.raises(InputError, match="'x'"):
            next(recipe(tomato.task, **wrong))  # type: ignore[operator]
    step = next(correlated_proxies.recipe(bag.task, of="sequence", lam=0.1, released=True))
    assert step.stats["skipped"] == 0
