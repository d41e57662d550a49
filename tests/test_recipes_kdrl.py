"""KDRL: what the teacher's term is, whom it corrects, and when."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from small import small_world

from assay.core import Carry, InputError, Loop, Rng, Samples, Step
from assay.formulas.divergence import k2
from assay.recipes import kdrl
from assay.recipes.kdrl import recipe

LOOP = Loop(max_steps=2, batch_size=6, num_generations=4, learning_rate=3e-4)


def task_here() -> Any:
    return small_world(kdrl).task.replaced(carry=Carry(), rng=Rng(0))


def first_step(**constants: Any) -> Step:
    return next(iter(recipe(task_here(), loop=LOOP, **constants)))


@cache
def drawn() -> tuple[Samples, torch.Tensor, torch.Tensor]:
    """What the first step samples, the teacher's k2 of it `[B,N,T]`, and which are right."""
    task = task_here()
    with torch.no_grad():
        x = task.reference.sample(task.batch(LOOP, 0), 4, task.rng("sample", 0))
        term = k2(task.reference.logp(x), task.others["strong"].logp(x))
    right = task.rewards.named("outcome")(x)[0] >= 0.5
    assert bool(right.any()) and not bool(right.all())
    return x, term, right


def expected(rows: torch.Tensor) -> float:
    """The mean over the batch's tokens of the terms of completions `rows` `[B,N]`."""
    x, term, _ = drawn()
    chosen = x.mask & rows[..., None]
    return float(term[chosen].sum() / x.mask.sum())


def test_the_teachers_term_is_k2_of_whom_it_corrects() -> None:
    x, _, right = drawn()
    alone = {"beta": 1.0, "reward_weight": 0.0}
    for distil, rows in (
        ("all", x.present),
        ("wrong", ~right),
        ("unsolved", ~right.any(-1, keepdim=True) & x.present),
    ):
        step = first_step(distil=distil, **alone)
        assert step.stats["loss"] == pytest.approx(expected(rows), rel=1e-5, abs=1e-9), distil
        assert step.stats["distilled"] == pytest.approx(float(rows.float().mean()))


def test_both_terms_add_up() -> None:
    rewards = first_step(beta=0.0).stats["loss"]
    both = first_step(beta=0.5).stats["loss"]
    x, _, _ = drawn()
    assert both - rewards == pytest.approx(0.5 * expected(x.present), rel=1e-4)


def test_distilled_the_student_comes_nearer_to_the_teacher() -> None:
    task = task_here()
    x, _, _ = drawn()

    def distance(policy: Any) -> float:
        with torch.no_grad():
            return float(k2(policy.logp(x), task.others["strong"].logp(x))[x.mask].mean())

    step = first_step(beta=1.0, reward_weight=0.0)
    assert distance(step.policy) < distance(task.reference)


def test_its_weight_falls_and_one_comes_after_the_other() -> None:
    falling = [s.stats["beta"] for s in recipe(task_here(), loop=LOOP, beta=0.3, decay=0.1)]
    assert falling == pytest.approx([0.3, 0.2])
    least = list(recipe(task_here(), loop=LOOP, beta=0.3, decay=1.0, beta_least=0.05))
    assert [s.stats["beta"] for s in least] == pytest.approx([0.3, 0.05])
    turn = [s.stats for s in recipe(task_here(), loop=LOOP, beta=0.3, first=1)]
    assert [s["beta"] for s in turn] == [0.3, 0.0]
    alone = first_step(beta=0.3, reward_weight=0.0)
    assert turn[0]["loss"] == pytest.approx(alone.stats["loss"])


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="--distil is 'some'; it is one of all, wrong, unsolved"):
        first_step(distil="some")
    with pytest.raises(InputError, match="--estimator is 'k4'"):
        first_step(estimator="k4")
    with pytest.raises(InputError, match="--teacher is 'me'; it is reference or one of"):
        first_step(teacher="me")
    with pytest.raises(InputError, match="--beta is 0.1, --beta-least 0.2"):
        first_step(beta=0.1, beta_least=0.2)
