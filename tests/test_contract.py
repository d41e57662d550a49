"""What every recipe owes. Recipes are found by listing the folder, so a new file joins by being
there.

`make test` runs each recipe once, on its smallest world, killed and resumed. The other laws are
marked `full` and run in `make test-all`.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import os
import pkgutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import FOLDER, needs, small_world

import assay.recipes
from assay.core import Carry, Claim, Loop, Paper, World
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.records.runs import Run

MODULES = [
    importlib.import_module(f"assay.recipes.{m.name}")
    for m in pkgutil.iter_modules(assay.recipes.__path__)
]
RECIPES = [m for m in MODULES if hasattr(m, "recipe")]
SLOW = ("policy_discriminator", "spark", "itool", "mcts_dpo", "meds3", "tl_training")
SMALL = Loop(max_steps=4, batch_size=6, num_generations=4, learning_rate=0.05)
QUICK: dict[str, dict[str, Any]] = {
    "best_of_n": {"most": 8},
    "process_advantage": {"k": 2, "rollouts": 2, "examples": 4, "verifier_steps": 3},
    "token_reward": {"contrast": 1},
    "risk_po": {"bundle": 3},
    "c_morl": {"parts": 1, "first": 1, "extend": 1},
    "reward_ranker": {"round_steps": 2, "ranker_steps": 4},
    "meds3": {"round_steps": 2, "nodes": 6, "votes": 2, "rollouts": 2, "verifier_steps": 3},
    "router_r1": {"alpha": 0.5, "window": 30},
    "tl_training": {"sft_steps": 2, "sft_rate": 1.0, "tools": "add two,add three,take two"},
}  # smaller pools, fits and bundles; a kill after the contrast was made, and in the second stage


def name(module: Any) -> str:
    return module.__name__.rpartition(".")[2]


def each(modules: list[Any], slow: Sequence[str] = ()) -> Any:
    marked = [pytest.param(m, marks=[pytest.mark.full] if name(m) in slow else []) for m in modules]
    return pytest.mark.parametrize("module", marked, ids=name)


@pytest.fixture
def world(module: Any) -> World:
    return small_world(module)


def loop_of(module: Any) -> Loop:
    """The small loop, as the recipe insists, at a rate that undoes no network's schooling."""
    own = inspect.signature(module.recipe).parameters["loop"].default
    lr = 0.003 if needs(module)[0] in ("sums", "calculator", "routing") else SMALL.learning_rate
    size = 4 if own.epochs > 1 else 0
    return replace(SMALL, epochs=own.epochs, mini_batch_size=size, learning_rate=lr)


def drive(
    module: Any,
    world: World,
    arguments: dict[str, Any] | None = None,
    loop: Loop | None = None,
    **how: Any,
) -> list[dict[str, Any]]:
    own = {k: how.pop(k) for k in MeasureConfig.__dataclass_fields__ if k in how}
    config = MeasureConfig(**{"eval_steps": 1, "eval_generations": 16, **own})
    return list(
        measure(
            module.recipe,
            world,
            arguments={**QUICK.get(name(module), {}), **(arguments or {})},
            loop=loop or loop_of(module),
            config=config,
            **how,
        )
    )


def timeless(readings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Readings without the one thing that may differ between equal runs."""
    return [{k: v for k, v in r.items() if k != "seconds"} for r in readings]


def differences(a: Any, b: Any, tolerance: float, where: str = "") -> list[str]:
    """Every place where two nested records differ: numbers by more than the tolerance, the rest at
    all.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            d
            for k in a.keys() | b.keys()
            for d in differences(a.get(k), b.get(k), tolerance, f"{where}.{k}")
        ]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [
            d
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for d in differences(x, y, tolerance, f"{where}[{i}]")
        ]
    if (
        isinstance(a, (int, float))
        and isinstance(b, (int, float))
        and abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))
    ):
        return []
    return [] if a == b else [f"{where}: {a} ≠ {b}"]


@each(MODULES)
def test_a_paper_file_says_what_it_is(module: Any) -> None:
    assert isinstance(module.paper, Paper) and isinstance(module.claim, Claim)
    assert callable(module.claim.effect) and module.claim.arms and isinstance(module.reduces, dict)
    assert module.claim.turns is None or module.claim.turns in module.claim.arms
    verbs = [v for v in ("recipe", "fit", "study") if hasattr(module, v)]
    assert len(verbs) == 1, f"{name(module)} has the verbs {verbs}: one file, one verb"
    known = {name(m): m for m in MODULES}
    fields = set(Loop.__dataclass_fields__)
    for arm, (other, arguments) in module.claim.arms.items():
        assert other in known, f"arm {arm} names {other}, which is no paper"
        own = {
            a
            for a in arguments
            if a not in fields and a != "fit" and not a.startswith(("world.", "fit."))
        }
        assert own <= takes(known[other]), (
            f"arm {arm}: {other} takes no {own - takes(known[other])}"
        )
        if "fit" in arguments:
            its = {a.removeprefix("fit.") for a in arguments if a.startswith("fit.")} - fields
            assert hasattr(known[arguments["fit"]], "fit") and its <= takes(
                known[arguments["fit"]]
            ), f"arm {arm}"


def takes(module: Any) -> set[str]:
    """The constants of a paper's function."""
    verb = next(v for v in ("recipe", "fit", "study") if hasattr(module, v))
    return set(inspect.signature(getattr(module, verb)).parameters)


@each(RECIPES)
def test_signature_is_the_configuration(module: Any) -> None:
    parameters = inspect.signature(module.recipe).parameters
    fields = set(Loop.__dataclass_fields__)
    for p in parameters.values():
        if p.name in ("task", "loop"):
            continue
        default = list(p.default) if isinstance(p.default, tuple) else p.default
        assert p.kind is p.KEYWORD_ONLY and json.loads(json.dumps(default)) == default, (
            f"{p.name} has no JSON default"
        )
        assert p.name not in fields, f"--{p.name} is the Loop's flag already"


@contextmanager
def left_alone(world: World) -> Iterator[None]:
    """Within: the reference keeps its weights, and nothing draws from torch's global stream."""
    before = {k: v.clone() for k, v in world.task.reference.state_dict().items()}
    state = torch.get_rng_state()
    yield
    assert all(torch.equal(v, world.task.reference.state_dict()[k]) for k, v in before.items())
    assert torch.equal(state, torch.get_rng_state())
    assert not any(p.requires_grad for p in world.task.reference.parameters())


@each(RECIPES, slow=SLOW)
def test_killed_and_resumed_is_the_uninterrupted_run(
    module: Any, world: World, tmp_path: Path
) -> None:
    with left_alone(world):
        whole = drive(module, world, run=Run.create(tmp_path / "whole", {}), save_steps=1)
    assert whole[-2]["kl"] > 0, "a policy that did not move shows nothing"
    run = Run.create(tmp_path / "cut", {})
    config = MeasureConfig(eval_steps=1, save_steps=2, eval_generations=16)
    own = QUICK.get(name(module), {})
    readings = measure(
        module.recipe, world, arguments=own, loop=loop_of(module), config=config, run=run
    )
    while (
        next(readings)["step"] < 3
    ):  # the third step, or the first policy of its family, comes after the last save
        pass
    readings.close()
    gc.collect()
    rest = drive(module, world, run=Run.open(tmp_path / "cut"), save_steps=2, resume=True)
    assert 0 < len(rest) < len(whole)
    assert timeless(Run.open(tmp_path / "cut").readings()) == timeless(
        Run.open(tmp_path / "whole").readings()
    )
    assert Run.open(tmp_path / "cut").samples() == Run.open(tmp_path / "whole").samples()
    assert (
        drive(module, world, run=Run.open(tmp_path / "cut"), resume=True) == []
    )  # finished: nothing is made twice


@pytest.mark.full
@each(RECIPES)
def test_how_often_it_is_read_and_grad_mode_have_no_effect(module: Any, world: World) -> None:
    often = drive(module, world)
    with torch.no_grad():
        once = drive(module, world, eval_steps=1000)
    once = [o for o in once if o["tag"] != "best"]
    same = [
        r
        for r in often
        if r["tag"] != "best" and (r["step"], r["tag"]) in {(o["step"], o["tag"]) for o in once}
    ]
    keys = ("step", "tag", "gold", "kl", "proxy", "rewards", "generated", "scored", "updates")
    assert [[r[k] for k in keys] for r in same] == [[o[k] for k in keys] for o in once]


@pytest.mark.full
@each(RECIPES)
def test_micro_batches_change_nothing(module: Any, world: World) -> None:
    whole, rows = drive(module, world), drive(module, world, micro_batch_size=1)
    assert differences(timeless(whole), timeless(rows), 1e-6) == []


@pytest.mark.full
@each([m for m in RECIPES if m.reduces])
def test_reduces_to_its_parent_step_for_step(module: Any, world: World) -> None:
    for parent, (mine, theirs) in module.reduces.items():
        a = drive(module, world, mine, loop=SMALL)
        b = drive(next(m for m in RECIPES if name(m) == parent), world, theirs, loop=SMALL)
        keys = ("step", "gold", "kl", "proxy")
        assert (
            differences(
                [{k: r[k] for k in keys} for r in a], [{k: r[k] for k in keys} for r in b], 1e-6
            )
            == []
        ), parent
        assert a[-2]["kl"] > 1e-6, "a policy that did not move shows nothing"


@pytest.mark.full
@each(RECIPES)
def test_another_seed_is_another_run(module: Any, world: World) -> None:
    """The laws above would hold for a recipe that does nothing; this one would not."""
    a, b = drive(module, world), drive(module, world, loop=replace(loop_of(module), seed=7))
    assert a[1]["gold"] != b[1]["gold"] and a[-2]["kl"] > 0


def test_a_carry_goes_on_where_it_stopped() -> None:
    carry = Carry()
    steps: Iterator[int] = carry.keep(total_seen=0).steps(5)
    assert [next(steps), next(steps)] == [0, 1]
    again = Carry(carry.state())
    assert list(again.keep(total_seen=0).steps(5)) == [2, 3, 4]


LIST = Path(__file__).with_name("two_processes.py")


@pytest.mark.full
def test_two_processes_are_one(tmp_path: Path) -> None:
    """One pair of processes runs the whole list; readings equal those of one process."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    for module in RECIPES:
        small_world(module)  # kept in FOLDER now, where the pair finds it
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
        "ASSAY_SMALL": FOLDER,
    }
    command = [sys.executable, str(LIST), str(tmp_path)]
    pair = [
        subprocess.Popen(command, env={**environment, "RANK": str(r)}, stderr=subprocess.PIPE)
        for r in range(2)
    ]
    said = [p.communicate(timeout=900)[1].decode() for p in pair]
    assert [p.returncode for p in pair] == [0, 0], said
    for module in RECIPES:
        one = timeless(drive(module, small_world(module)))
        two = json.loads((tmp_path / f"{name(module)}.json").read_text())
        assert differences(json.loads(json.dumps(one)), timeless(two), 1e-6) == [], name(module)
