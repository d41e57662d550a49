"""A completion that no reward model scores is absent from a ranked list: its mean is no label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import Loop, Samples, Step
from assay.recipes import lipo, rso
from assay.worlds import table


class Half:
    """A reward by the first decision, which says nothing of some completions."""

    names = ("half",)
    partial = True

    def __init__(self, silent: Callable[[Samples], Tensor]):
        self.silent = silent

    def __call__(self, samples: Samples) -> Tensor:
        said = (samples.action[..., 0] * 37 % 11).float()
        return said.masked_fill(self.silent(samples), torch.nan)[None]


def after(n: int) -> Callable[[Samples], Tensor]:
    """Silent about all completions of a prompt but the first n."""
    return lambda x: (torch.arange(x.mask.shape[1]) >= n).expand(x.present.shape)


def trained(recipe: Any, size: int, scored: int, **constants: Any) -> tuple[Step, list[Tensor]]:
    """The last step, and the policy's parameters after it, with lists of `size`."""
    task = table.world(seed=0).task.replaced(rewards=Half(after(scored)))
    loop = Loop(max_steps=2, batch_size=4, num_generations=size, learning_rate=0.1)
    *_, last = recipe(task, loop=loop, **constants)
    return last, [p.detach().clone() for p in last.policy.parameters()]


ALL = [
    (lipo.recipe, {}),
    (lipo.recipe, {"loss": "softmax", "label_by": "win_rate"}),
    (lipo.recipe, {"loss": "plackett_luce"}),
    (rso.recipe, {"keep": 2, "accept_beta": 0.0}),
]


@pytest.mark.parametrize(("recipe", "constants"), ALL)
def test_unscored_completions_teach_as_if_they_had_not_been_drawn(
    recipe: Any, constants: dict[str, Any]
) -> None:
    step, found = trained(recipe, 4, 2, **constants)
    _, want = trained(recipe, 2, 2, **constants)
    start = list(table.world(seed=0).task.reference.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(want, start, strict=True)), "it learns"
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert step.stats["frac_reward_missing"] == 0.5 and step.stats["lists/short"] == 0


@pytest.mark.parametrize(("recipe", "constants"), ALL)
def test_a_list_with_one_score_teaches_nothing_and_is_counted(
    recipe: Any, constants: dict[str, Any]
) -> None:
    step, found = trained(recipe, 4, 1, **constants)
    start = list(table.world(seed=0).task.reference.parameters())
    assert all(torch.equal(a, b) for a, b in zip(found, start, strict=True))
    assert step.stats["lists/short"] == 1


def test_what_the_filter_does_not_score_is_no_candidate() -> None:
    class Two(Half):
        names = ("labels", "filters")

        def __call__(self, samples: Samples) -> Tensor:
            said = super().__call__(samples)
            return torch.cat([said.nan_to_num(0.0) + samples.action[..., 0] * 37 % 11, said])

    task = table.world(seed=0).task.replaced(rewards=Two(after(1)))
    loop = Loop(max_steps=1, batch_size=4, num_generations=4, learning_rate=0.1)
    *_, step = rso.recipe(task, keep=2, filter_member=1, loop=loop)
    assert step.stats["lists/short"] == 1
