"""measure from Python: one writer, a run that goes on after a stop, its policies afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import BANDIT

from assay.core import Loop, Rng, Step, World
from assay.engine.folder_lock import only_writer
from assay.errors import InputError
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import Measurement, measure
from assay.evaluation.reading import Reader
from assay.recipes import leave_one_out
from assay.records.best import best
from assay.records.runs import Run
from assay.watch.config import KEPT, WatchConfig
from assay.worlds import table

LOOP = Loop(max_steps=6, batch_size=4, num_generations=4, learning_rate=0.1)
HOW = MeasureConfig(eval_steps=1, save_steps=2, eval_generations=8)


@pytest.fixture(scope="module")
def world() -> World:
    return table.world(**BANDIT)


def run_of(folder: Path) -> Run:
    return Run.create(folder, {"recipe": "leave_one_out", "verb": "recipe"})


def test_a_loop_that_stops_reading_leaves_a_run_that_goes_on(world: World, tmp_path: Path) -> None:
    run = run_of(tmp_path / "a")
    readings = measure(leave_one_out.recipe, world, loop=LOOP, run=run, config=HOW)
    for reading in readings:
        if reading["step"] == 3:
            again = measure(leave_one_out.recipe, world, loop=LOOP, run=run, resume=True)
            with pytest.raises(InputError, match=" is writing to"):
                next(again)
            break
    readings.close()
    assert Run.open(run.folder).record.state == "interrupted"
    rest = measure(
        leave_one_out.recipe, world, loop=LOOP, run=Run.open(run.folder), config=HOW, resume=True
    )
    assert [r["step"] for r in rest][:1] == [3]
    whole = run_of(tmp_path / "b")
    list(measure(leave_one_out.recipe, world, loop=LOOP, run=whole, config=HOW))
    a, b = Run.open(run.folder), Run.open(whole.folder)
    assert a.record.result == b.record.result and a.record.state == "done"
    same = [{k: v for k, v in r.items() if k != "seconds"} for r in a.readings()]
    assert same == [{k: v for k, v in r.items() if k != "seconds"} for r in b.readings()]


@pytest.mark.parametrize("recorded", [True, False])
def test_the_best_policy_is_the_one_that_was_read(
    world: World, tmp_path: Path, recorded: bool
) -> None:
    run = run_of(tmp_path / "a") if recorded else None
    driven = Measurement(leave_one_out.recipe, world, LOOP, {}, HOW, run=run)
    with pytest.raises(InputError, match="not done"):
        driven.policy()
    readings = list(driven.readings())
    assert driven.result is not None
    top = driven.result["best"]
    golds = {r["step"]: r["gold"] for r in readings[:-1]}
    assert top["step"] == max(golds, key=lambda t: golds[t]) and top["chosen_by"] == "gold"
    with torch.no_grad():
        x = driven.policy().sample(world.held_out, 8, Rng(LOOP.seed)("read")("same"))
    assert world.gold is not None
    assert float(world.gold(x)[0].mean()) == pytest.approx(golds[top["step"]], abs=1e-6)
    assert driven.policy(best=False) is not driven.policy() or top == driven.result["last"]
    if run is not None:
        assert best(run).step == top["step"]
        held = {f for p in (top, driven.result["last"]) if (f := p["file"])}
        found = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*.safetensors")}
        assert found == held


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_policy_is_read_once_at_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch, sign: float
) -> None:
    proxy = world.task.rewards
    mine = replace(world, gold=lambda x: sign * proxy(x)[:1], facts=None)
    seen, read = [], Reader.__call__

    def counted(self: Reader, step: Step, rng: Rng) -> Any:
        seen.append((step.policy, rng))
        return read(self, step, rng)

    monkeypatch.setattr(Reader, "__call__", counted)
    driven = Measurement(leave_one_out.recipe, mine, LOOP, {}, HOW)
    *_, last = driven.readings()
    fresh = [policy for policy, rng in seen if rng.key == Rng(LOOP.seed)("read")("chosen").key]
    assert len(fresh) == len({id(p) for p in fresh}) == 2
    assert last["step"] == (LOOP.max_steps if sign > 0 else 0)
    if sign < 0:
        again = driven.reads.reader(Step(mine.task.reference), seen[-1][1])[0]["gold"]
        assert last["stats"]["fresh/gold_reference"] == last["gold"] == again


def test_a_wrong_argument_of_a_recipe_is_recorded(world: World, tmp_path: Path) -> None:
    run, wrong = run_of(tmp_path / "a"), {"no_such": 1}
    with pytest.raises(TypeError):
        list(measure(leave_one_out.recipe, world, loop=LOOP, arguments=wrong, run=run))
    with only_writer(run.folder) as free:
        assert free and "no_such" in str(Run.open(run.folder).record.error)


def test_large_policies_are_kept_in_five_gigabytes_but_never_too_few_for_the_stretch() -> None:
    kept: Any = WatchConfig().policies_kept
    assert (kept(20), kept(20, 10**6), KEPT) == (24, 24, 24)
    assert kept(20, 538_000_000) == 9, "a stretch of three, three of each"
    assert kept(20, 14 * 10**9) == 9 and kept(100, 538_000_000) == 24
    assert WatchConfig(kept=5).policies_kept(100, 10**9) == 5
