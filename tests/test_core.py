"""The nouns: what a reward may not return, what a task lacks, how answers are picked and joined; no
gold in a task.
"""

from __future__ import annotations

import copy
import gc
import importlib
import inspect
import math
import pkgutil
import weakref
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import SIZES
from torch import Tensor

import assay.worlds
from assay.core import (
    Checked,
    InputError,
    Loop,
    Missing,
    Policy,
    Reward,
    Rng,
    Samples,
    Task,
    World,
)
from assay.core import order as rows_of
from assay.engine.parallel import COUNTED, meter
from assay.models.policies.table import TablePolicy

SMALL: dict[str, list[dict[str, Any]]] = {
    "table": [
        {"testbed": "bag", "pairs": 30},
        {"testbed": "bandit", "pairs": 30, "mode": "idiosyncratic"},
        {"testbed": "tomato"},
    ],
    "sums": [SIZES["sums"]],
    "calculator": [SIZES["calculator"]],
    "routing": [SIZES["routing"]],
    "flow": [SIZES["flow"]],
    "hub": [],  # needs files of the user's own: the same law stands in test_worlds_hub
    "grammar": [
        {"pairs": 20, "members": 1, "held_out": 4, "demos": 40, "sft_steps": 2, "reward_steps": 2}
    ],
}
WORLDS = [
    pytest.param(importlib.import_module(f"assay.worlds.{m.name}").world, arguments, id=m.name)
    for m in pkgutil.iter_modules(assay.worlds.__path__)
    if hasattr(importlib.import_module(f"assay.worlds.{m.name}"), "world")
    for arguments in SMALL.get(m.name, [{}])
]
REFERENCE = TablePolicy(torch.zeros(5, 3), length=4)


def drawn(rows: list[int], n: int | list[int] = 3, seed: int = 0) -> Samples:
    prompts = REFERENCE.prompts(torch.tensor(rows))
    return REFERENCE.sample(
        prompts, n if isinstance(n, int) else torch.tensor(n), Rng(seed)("sample")
    )


class Says:
    """A reward that returns what it is told to."""

    def __init__(
        self,
        score: Callable[[Samples], Tensor],
        names: tuple[str, ...] = ("helpful", "safe"),
        partial: bool = False,
    ):
        self.score, self.names, self.partial = score, names, partial

    def __call__(self, samples: Samples) -> Tensor:
        return self.score(samples)


def scores(x: Samples, **at: float) -> Tensor:
    """Zeros [2,B,N] but for `m0b1n2=value`."""
    out = torch.zeros(2, *x.mask.shape[:2])
    for place, value in at.items():
        out[int(place[1]), int(place[3]), int(place[5])] = value
    return out


# ---- rewards behind their door


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error_that_says_where(bad: float) -> None:
    reward = Checked(Says(lambda x: scores(x, m1b1n2=bad)))
    with pytest.raises(
        InputError,
        match=f"reward 'safe' gave {bad} for completion 2 of prompt 4 .*declare the reward partial",
    ):
        reward(drawn([0, 4]))


def test_an_absent_answer_may_score_anything_and_counts_as_zero() -> None:
    x = drawn([0, 4], [3, 2])
    out = Checked(Says(lambda x: scores(x, m1b1n2=math.nan) + 1))(x)
    assert torch.equal(out, x.present.float().expand(2, 2, 3))


def test_a_partial_reward_may_abstain_and_never_be_infinite() -> None:
    x = drawn([0, 4])
    out = Checked(Says(lambda x: scores(x, m0b0n0=math.nan), partial=True))(x)
    assert int(out.isnan().sum()) == 1
    with pytest.raises(InputError, match="gave inf"):
        Checked(Says(lambda x: scores(x, m0b0n0=math.inf), partial=True))(x)
    never = Checked(Says(lambda x: scores(x) * math.nan, partial=True))
    for _ in range(12):  # more than 64 completions in all: a run warns of it, and goes on
        assert never(replace(x, action=x.action.clone())).isnan().all()


def test_a_reward_that_is_no_tensor_is_named() -> None:
    with pytest.raises(
        InputError,
        match=r"reward helpful, safe returned a NoneType; a tensor \[M,B,N\] = \[2, 2, 3\] was",
    ):
        Checked(Says(lambda x: None))(drawn([0, 4]))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 3), (2, 3, 2), (2, 2, 3, 1)])
def test_a_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        InputError,
        match=r"reward helpful, safe returned shape .*; \[M,B,N\] = \[2, 2, 3\] was asked for",
    ):
        Checked(Says(lambda x: torch.zeros(shape)))(drawn([0, 4]))


def test_every_member_and_answer_is_counted_and_nothing_while_reading() -> None:
    x, reward = drawn([0, 4], [3, 1]), Checked(Says(scores))
    before = meter.counts["scored"]
    reward(x)
    with meter.lifted():
        reward(x)
    assert meter.counts["scored"] - before == 2 * 4


def test_scores_carry_no_gradient() -> None:
    weight = torch.ones(1, requires_grad=True)
    assert not Checked(Says(lambda x: scores(x) * weight))(drawn([0])).requires_grad


# ---- the task


@pytest.mark.parametrize("part", ["rewards", "pairs", "demos", "preference", "others", "reply"])
def test_what_a_world_lacks_is_named_with_the_flag_that_supplies_it(part: str) -> None:
    task = Task(prompts=drawn([0]).prompts, reference=REFERENCE)
    with pytest.raises(Missing, match=rf"this world has no .*; pass --(world\.)?{part}"):
        getattr(task, part)


def test_exchanging_a_part_keeps_the_others() -> None:
    task = Task(
        prompts=drawn([0]).prompts, reference=REFERENCE, rewards=Says(scores), demos=drawn([1])
    )
    other = task.replaced(rng=Rng(7), demos=drawn([2]))
    assert (
        other.rewards is task.rewards
        and other.rng.key == Rng(7).key
        and int(other.demos.prompts.row) == 2
    )
    assert int(task.demos.prompts.row) == 1


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 13), batch=st.integers(1, 20))
def test_batches_cover_every_epoch_exactly(n: int, batch: int) -> None:
    rng = Rng(1)("run")
    walked = torch.cat([rows_of(n, batch, t, rng) for t in range(-(-3 * n // batch))])[: 3 * n]
    for epoch in walked.split(n):
        assert torch.equal(epoch.sort().values, torch.arange(n))


def test_epochs_are_in_different_orders_and_an_empty_task_says_so() -> None:
    rng = Rng(1)("run")
    assert not torch.equal(rows_of(20, 20, 0, rng), rows_of(20, 20, 1, rng))
    assert torch.equal(rows_of(20, 20, 1, rng), rows_of(20, 20, 1, Rng(1)("run")))
    with pytest.raises(InputError, match="0 rows"):
        rows_of(0, 4, 0, rng)


# ---- the loop


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_steps", -1),
        ("batch_size", 0),
        ("num_generations", 0),
        ("epochs", 0),
        ("mini_batch_size", -1),
        ("warmup_steps", -1),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
    ],
)
def test_a_loop_that_cannot_be_is_refused_by_its_flag(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"--{field.replace('_', '-')} is"):
        Loop(**{field: value})


def test_minibatches_cover_the_batch_once_an_epoch() -> None:
    parts = list(Loop(epochs=2, mini_batch_size=3).minibatches(8, Rng(0)))
    assert [len(p) for p in parts] == [3, 3, 2, 3, 3, 2]
    first, second = torch.cat(parts[:3]), torch.cat(parts[3:])
    assert torch.equal(first.sort().values, torch.arange(8)) and torch.equal(
        second.sort().values, torch.arange(8)
    )
    assert not torch.equal(first, second)


# ---- gold


@pytest.mark.parametrize(("make", "arguments"), WORLDS)
def test_a_task_outlives_its_world_and_the_gold_does_not(
    make: Callable[..., World],
    arguments: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    world = make(**arguments)
    if world.gold is None:
        pytest.skip("this world has none")
    task, gold = world.task, weakref.ref(world.gold)
    assert (
        gold() is not None
        and isinstance(task.reference, Policy)
        and isinstance(task.rewards, Reward)
    )
    x = task.reference.sample(task.prompts[:2], 2, task.rng("sample"))
    world.gold(x)
    del world
    gc.collect()
    assert gold() is None
    assert (
        task.rewards(task.reference.sample(task.prompts[:2], 2, task.rng("sample")))
        .isfinite()
        .all()
    )


def test_one_member_costs_one_call_whether_or_not_the_reward_can_be_divided() -> None:
    x = drawn([0, 4])
    whole = Checked(
        Says(lambda y: torch.stack([torch.zeros(y.mask.shape[:2]), torch.ones(y.mask.shape[:2])]))
    )
    assert torch.equal(whole.only([1])(x), whole(x)[1:]) and whole.only([1]).names == ("safe",)
    assert whole.only(range(2)) is whole
    with pytest.raises(InputError, match="member 2 was asked for, and this reward has 0 to 1"):
        whole.only([2])
    there = importlib.import_module("assay.worlds.table").world(
        testbed="bandit", prompts=4, responses=24, pairs=50, members=3
    )
    drawn_there = there.task.reference.sample(there.task.prompts, 2, Rng(1))
    with meter.charging(dict.fromkeys(COUNTED, 0)):
        one = there.task.rewards.only([2])(drawn_there)
        assert meter.counts["scored"] == 8
        assert (
            torch.equal(one[0], there.task.rewards(drawn_there)[2])
            and meter.counts["scored"] == 8 + 24
        )
        there.task.rewards(drawn_there)  # remembered: nothing is paid for again
        assert meter.counts["scored"] == 8 + 24


def test_a_loop_knows_which_of_its_fields_were_given() -> None:
    """A default value that is given counts; copies keep it; equality and records do not see it."""
    some = Loop(5, epochs=1)
    assert some.given == {"max_steps", "epochs"} and Loop().given == frozenset()
    assert copy.deepcopy(some).given == some.given
    assert some == Loop(max_steps=5) and hash(some) == hash(Loop(max_steps=5))
    assert set(asdict(some)) == set(Loop.__dataclass_fields__)
    assert list(inspect.signature(Loop).parameters) == list(Loop.__dataclass_fields__)
    assert replace(some, seed=3).given >= {"max_steps", "epochs", "seed"}
