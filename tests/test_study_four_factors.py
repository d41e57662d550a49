"""The four-factor table: its cells are the recipes dpo and ppo, and its factors are its cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small import FOLDER, SIZES

from assay.core import InputError, Loop, Task, World
from assay.loops.factors import CELLS, CLAIMED, Cell, Data, effects
from assay.recipes import dpo, four_factors, ppo
from assay.recipes.four_factors import study
from assay.worlds import grammar, table

TINY: dict[str, Any] = {"set_size": 12, "steps": 2, "batch": 3, "group": 2, "look": 2, "small": 8}


@pytest.fixture(scope="module")
def world() -> World:
    assert SIZES["grammar"]["reward_width"] > TINY["small"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", FOLDER)
        return grammar.world(**SIZES["grammar"], seed=1)


def test_factors_are_differences_of_cells() -> None:
    """Gold that is a sum of what each factor is worth gives these numbers back."""
    gold = {
        name: 2.0 * c.source
        + 1.5 * c.clean
        + 0.5 * c.many
        + 2.5 * (c.algorithm == "ppo")
        + 1.2 * c.large * (c.algorithm == "ppo")
        + 0.3 * c.every
        + 0.05 * c.again * (1 if c.algorithm == "ppo" else -1)
        for name, c in CELLS.items()
    }
    found = effects(gold)
    main = {"data": 4.0, "algorithm": 3.7, "reward model": 1.2, "prompts": 0.3, "nothing": 0.05}
    for a in ("dpo", "ppo"):
        main |= {f"data, {a}": 4.0, f"own source, {a}": 2.0}
        main |= {f"noisy labels, {a}": 1.5, f"fewer pairs, {a}": 0.5}
    assert found == pytest.approx(main)
    few = effects({name: gold[name] for name in CLAIMED})
    assert few == pytest.approx({k: main[k] for k in few}) and "own source, dpo" not in few


def test_noise_of_both_algorithms_is_measured_and_never_cancels() -> None:
    gold = dict.fromkeys(CLAIMED, 0.0) | {"dpo, again": -0.4, "ppo, again": 0.2}
    assert effects(gold)["nothing"] == pytest.approx(0.3)


@pytest.mark.full
def test_the_table_is_whole_and_says_what_it_spent(world: World) -> None:
    lines = list(study(world, runs=2, **TINY))
    cells = {x["cell"]: x for x in lines if "cell" in x}
    spent = {x["arm"]: x for x in lines if x.get("kind") == "spent"}
    moves = {x["factor"]: x for x in lines if "factor" in x}
    by_hand = effects({name: x["gold"] for name, x in cells.items()})
    assert list(cells) == list(spent) == list(CELLS) and set(moves) == set(by_hand)
    assert all(x["kl"] > 0 and x["gold_low"] <= x["gold"] <= x["gold_high"] for x in cells.values())
    del by_hand["nothing"], moves["nothing"]  # a mean of absolute values
    assert {f: x["moves"] for f, x in moves.items()} == pytest.approx(by_hand)
    start = {round(x["gold"] - x["gained"], 5) for x in cells.values()}
    assert len(start) == 1  # the same reference, read at the same addresses
    for name, cell in CELLS.items():
        drawn = 2 * 2 * 3 * 2 if cell.algorithm == "ppo" else 0  # runs, steps, prompts, each
        updates = 2 * 2 * 2 * (2 if cell.algorithm == "ppo" else 1)  # and the critic's
        found = {k: spent[name][k] for k in ("generated", "scored", "updates", "labels")}
        labels = 24 if cell.many else 6
        assert found == {"generated": drawn, "scored": drawn, "updates": updates, "labels": labels}
        assert spent[name]["seconds"] > 0


@pytest.mark.parametrize(("name", "module"), [("dpo", dpo), ("ppo", ppo)])
def test_a_cell_is_the_recipe(world: World, name: str, module: object) -> None:
    """The study's policy is that of the recipe, called by hand on the cell's task."""
    loop = Loop(max_steps=2, batch_size=4, num_generations=2, epochs=2, learning_rate=1e-3)
    data = Data(12, 2, 0.0)
    task = four_factors._task(world, CELLS[name], 0, data, 8)
    policy = four_factors._trained(task, name, loop, 0.2, 2e-3)
    again = four_factors._task(world, CELLS[name], 0, data, 8)
    own = replace(loop, learning_rate=2e-3)
    by_hand = list(module.recipe(again, beta=0.2, loop=own))[-1].policy  # type: ignore[attr-defined]
    assert all(torch.equal(v, by_hand.state_dict()[k]) for k, v in policy.state_dict().items())


@pytest.mark.full
def test_a_factor_changes_what_it_says_and_nothing_else(world: World) -> None:
    def task(cell: Cell, noise: float = 0.0) -> Task:
        return four_factors._task(world, cell, 0, Data(40, 1, noise), 8)

    base, noisy = task(Cell("ppo")), task(Cell("ppo", clean=False), 0.5)
    same = (base.pairs.action == noisy.pairs.action).flatten(1).all(1)
    turned = (base.pairs.action == noisy.pairs.action.flip(1)).flatten(1).all(1)
    assert bool((same | turned).all()) and 5 < int((turned & ~same).sum()) < 35
    assert len(task(Cell("ppo", every=True)).prompts) == len(world.task.prompts)
    assert len(base.prompts) == len(world.task.prompts) // 2
    small, large = (
        task(Cell("ppo", large=k)).rewards.reward.reward.model.config.width for k in (False, True)
    )
    assert (small, large) == (8, SIZES["grammar"]["reward_width"])
    better = four_factors._task(world, Cell("ppo"), 0, Data(40, 4, 0.0), 8)
    plain = four_factors._task(world, Cell("ppo"), 0, Data(40, 1, 0.0), 8)
    assert world.gold is not None
    best, one = (float(world.gold(x.pairs)[0].mean()) for x in (better, plain))
    assert best > one + 0.1  # half of its completions are the best of four
    labels = torch.equal(base.pairs.action, task(Cell("ppo", again=True)).pairs.action)
    assert labels and base.rng.key != task(Cell("ppo", again=True)).rng.key


def test_what_cannot_be_is_refused(world: World) -> None:
    bag = table.world(pairs=20, members=1, demos=5)
    for place, arguments, said in (
        (bag, {}, "two sizes"),
        (replace(bag, gold=None), {}, "needs gold"),
        (world, {"small": 999}, "--small is 999"),
        (world, {"only": "sft"}, "--only is 'sft'"),
        (world, {"runs": 0}, "at least 1"),
        (world, {"set_size": 3}, "at least --fewer"),
    ):
        with pytest.raises(InputError, match=said):
            next(study(place, **arguments))  # type: ignore[arg-type]
