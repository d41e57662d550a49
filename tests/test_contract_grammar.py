"""The contract once more where answers differ in length and a policy is a network: every recipe on
a tiny grammar world.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small import BANDIT, SIZES, needs
from test_contract import QUICK, RECIPES, drive, each, loop_of, name, timeless

from assay.core import World
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.records.runs import Run
from assay.worlds import grammar

pytestmark = pytest.mark.full

# policies that are tilted token by token: a network cannot be, and the recipe says so
TABLES_ALONE = ("policy_discriminator",)
# those that ask nothing particular of a world
ANYWHERE = [m for m in RECIPES if needs(m) == ("table", BANDIT) and name(m) not in TABLES_ALONE]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    with pytest.MonkeyPatch.context() as m:
        m.setenv("ASSAY_CACHE", str(tmp_path_factory.mktemp("kept")))
        return grammar.world(**SIZES["grammar"])


@each(ANYWHERE)
def test_killed_and_resumed_is_the_uninterrupted_run(
    module: Any, world: World, tmp_path: Path
) -> None:
    whole = drive(module, world, eval_generations=2, run=Run.create(tmp_path / "whole", {}))
    run = Run.create(tmp_path / "cut", {})
    readings = measure(
        module.recipe,
        world,
        arguments=QUICK.get(name(module), {}),
        loop=loop_of(module),
        config=MeasureConfig(eval_steps=1, save_steps=2, eval_generations=2),
        run=run,
    )
    while next(readings)["step"] < 3:
        pass
    readings.close()
    rest = drive(
        module, world, eval_generations=2, run=Run.open(tmp_path / "cut"), save_steps=2, resume=True
    )
    assert 0 < len(rest) < len(whole)
    assert timeless(Run.open(tmp_path / "cut").readings()) == timeless(
        Run.open(tmp_path / "whole").readings()
    )
    assert Run.open(tmp_path / "cut").samples() == Run.open(tmp_path / "whole").samples()


@each(ANYWHERE)
def test_what_is_read_is_whole(module: Any, world: World) -> None:
    for r in drive(module, world, eval_generations=2):
        assert (
            len(r["golds"]) == 7 and len(r["rewards"]) == 2 and r["kl"] is not None and r["kl"] >= 0
        )
        assert (
            abs(r["gold"] - sum(r["golds"][1:])) < 1e-4 and 0 <= r["stats"]["read/truncated"] <= 1
        )
