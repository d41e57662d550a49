"""A GRPO variant with dynamic sampling is one short file of the user's own: `dapo.py` beside this.

It is loaded from a folder outside the package, as a user's file is, and held to the contract.
"""

from __future__ import annotations

import ast
import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from small import BANDIT, SIZES, _built
from test_contract import differences, drive, timeless

from assay.core import Carry, Loop, Step, World
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.loops import Rollouts, online
from assay.recipes import grpo
from assay.records.runs import Run
from assay.registry import catalogue

FILE = Path(__file__).with_name("dapo.py")
LOOP = Loop(max_steps=4, batch_size=6, num_generations=4, learning_rate=0.003)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    path = shutil.copy(FILE, tmp_path_factory.mktemp("mine") / "dapo.py")
    return catalogue.load(catalogue.find(str(path)))


@pytest.fixture(scope="module")
def sums() -> World:
    return _built("sums", json.dumps(SIZES["sums"]))


def test_it_is_forty_lines() -> None:
    """Without blank lines, docstrings and the claim."""
    source = FILE.read_text(encoding="utf-8")
    aside: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node):
            aside |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
        if isinstance(node, ast.FunctionDef) and node.name == "claim":
            aside |= set(range(node.decorator_list[0].lineno, (node.end_lineno or 0) + 1))
    code = [
        line for i, line in enumerate(source.splitlines(), 1) if line.strip() and i not in aside
    ]
    assert len(code) <= 40, len(code)


def test_it_is_read_as_a_paper_s_file_is() -> None:
    entry = catalogue.find(str(FILE))
    assert entry.verb == "recipe" and entry.paper["year"] == 2025 and entry.statement


def test_without_its_changes_it_is_grpo(mine: ModuleType) -> None:
    world = _built("table", json.dumps(BANDIT))
    loop = Loop(max_steps=4, batch_size=6, num_generations=4, learning_rate=0.05)
    own, theirs = mine.reduces["grpo"]
    a, b = drive(mine, world, own, loop=loop), drive(grpo, world, theirs, loop=loop)
    keys = ("step", "gold", "kl", "proxy")
    assert (
        differences(
            [{k: r[k] for k in keys} for r in a], [{k: r[k] for k in keys} for r in b], 1e-6
        )
        == []
    )


@pytest.fixture
def batches(mine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Rollouts, int]]:
    """Every step's batch as the update had it, and the batches that the run had sampled by then."""
    found: list[tuple[Rollouts, int]] = []

    def spied(task: Any, loop: Loop, **hooks: Any) -> Iterator[Step]:
        after = lambda batch: found.append((batch, task.carry.batches))
        return online(task, loop, after=after, **hooks)

    monkeypatch.setattr(mine, "online", spied)
    return found


@pytest.mark.full
def test_the_batch_is_refilled_with_prompts_that_teach(
    mine: ModuleType, sums: World, batches: list[tuple[Rollouts, int]]
) -> None:
    list(mine.recipe(sums.task.replaced(carry=Carry()), loop=LOOP))
    assert [len(b) for b, _ in batches] == [6] * 4, "full, whatever was dropped"
    for batch, _ in batches:
        assert (batch.reward.amax(1) > batch.reward.amin(1)).all()
        assert batch.advantage is not None and (batch.advantage != 0).any(1).all()
    assert batches[-1][1] == sum(b.batches for b, _ in batches) > 4


def test_the_limit_ends_it_and_an_empty_batch_changes_nothing(
    mine: ModuleType,
    sums: World,
    batches: list[tuple[Rollouts, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mine, "proxy_score", lambda task: lambda x: x.present.double())
    steps = list(mine.recipe(sums.task.replaced(carry=Carry()), limit=3, loop=LOOP))
    assert [(len(b), b.batches) for b, _ in batches] == [(0, 3)] * 4
    assert all("loss" not in s.stats for s in steps)
    policy, reference = steps[-1].policy, sums.task.reference
    assert all(
        torch.equal(p, q) for p, q in zip(policy.parameters(), reference.parameters(), strict=True)
    )


@pytest.mark.full
def test_what_is_sampled_again_is_counted_and_overlong_is_punished(
    mine: ModuleType, sums: World
) -> None:
    plain = drive(mine, sums, {"limit": 1}, loop=LOOP)
    full = drive(mine, sums, {}, loop=LOOP)
    short = drive(mine, sums, {"max_length": 6, "cache": 4}, loop=LOOP)
    assert full[-2]["generated"] > plain[-2]["generated"] == 4 * 24
    assert full[-2]["scored"] > plain[-2]["scored"]
    assert short[-2]["kl"] != full[-2]["kl"]


@pytest.mark.full
def test_killed_between_uneven_steps_it_goes_on(
    mine: ModuleType, sums: World, tmp_path: Path
) -> None:
    """The next batch depends on how many were sampled: the count is in the carry."""
    whole = drive(mine, sums, loop=LOOP, run=Run.create(tmp_path / "whole", {}), save_steps=1)
    run = Run.create(tmp_path / "cut", {})
    readings = measure(
        mine.recipe,
        sums,
        loop=LOOP,
        config=MeasureConfig(eval_steps=1, save_steps=2, eval_generations=16),
        run=run,
    )
    while next(readings)["step"] < 3:
        pass
    readings.close()
    gc.collect()
    drive(mine, sums, loop=LOOP, run=Run.open(tmp_path / "cut"), save_steps=2, resume=True)
    assert timeless(Run.open(tmp_path / "cut").readings()) == timeless(
        Run.open(tmp_path / "whole").readings()
    )
    assert len(whole) > 4
