"""GRPO-CARE: where answers stand, who has the bonus, and how the slow policy moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small import small_world

from assay.core import Carry, InputError, Loop, Rng
from assay.recipes import grpo_care
from assay.recipes.grpo_care import answer_tokens, exchanged, recipe
from assay.worlds.arithmetic import VOCABULARY

LOOP = Loop(max_steps=4, batch_size=6, num_generations=4, learning_rate=3e-3)


def task_here() -> Any:
    return small_world(grpo_care).task.replaced(carry=Carry(), rng=Rng(0))


def test_answer_tokens_stand_after_the_last_word_answer() -> None:
    prompts = VOCABULARY.prompts(["3 + 4 mod 7 :"])
    texts = ["3 + 4 = 0 ; answer 0", "answer 3 ; answer 4 5", "3 + 4 = 0", "answer"]
    x = VOCABULARY.completions(prompts, [texts])
    found = answer_tokens(x, "answer")
    said = [VOCABULARY.decode(a[k].tolist()) for a, k in zip(x.action[0], found[0], strict=True)]
    assert said == ["0", "4 5", "", ""]
    assert int(found[0, 0].sum()) == 1  # without the end token


def test_a_bonus_at_random_is_given_to_as_many() -> None:
    c = torch.arange(12.0).reshape(2, 6)
    good = torch.tensor([[True, False, True, True, True, True], [False] * 6])
    swapped = exchanged(c, good, Rng(0))
    assert torch.equal(swapped[~good], c[~good]) and not torch.equal(swapped, c)
    assert sorted(swapped[good].tolist()) == sorted(c[good].tolist())
    mean = torch.stack([exchanged(c, good, Rng(k))[0, good[0]] for k in range(400)]).mean(0)
    assert torch.allclose(mean, c[good].mean().expand(5), atol=0.4)


def test_the_bonus_is_counted_and_none_is_plain_grpo() -> None:
    steps = list(recipe(task_here(), loop=LOOP))
    for step in steps:
        assert step.stats["no_answer"] <= 1 - step.stats["reward"] + 1e-6
        assert step.stats["bonus"] <= step.stats["reward"] + 1e-6
    assert any(s.stats["bonus"] > 0 for s in steps)
    assert "bonus" not in next(iter(recipe(task_here(), loop=LOOP, coefficient=0.0))).stats


def test_the_slow_policy_follows_every_few_steps() -> None:
    task = task_here()
    start = {k: v.clone() for k, v in task.reference.state_dict().items()}
    steps = recipe(task, loop=LOOP, decay=0.75, every=2)
    next(steps)
    assert all(torch.equal(v, start[k]) for k, v in task.carry.state()["kept"]["slow"].items())
    now = next(steps).policy.state_dict()
    for k, v in task.carry.state()["kept"]["slow"].items():
        if v.is_floating_point():
            assert torch.allclose(v, 0.75 * start[k] + 0.25 * now[k], atol=1e-6)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="--consistency is 'no'; it is one of own, shuffled"):
        next(iter(recipe(task_here(), loop=LOOP, consistency="no")))
    with pytest.raises(InputError, match="--decay is 2"):
        next(iter(recipe(task_here(), loop=LOOP, decay=2.0)))
