"""GDPO where a reward does not apply: it adds nothing, and no other reward counts in its place."""

from __future__ import annotations

import torch
from small import BANDIT
from torch import Tensor

from assay.core import Loop, Samples
from assay.recipes import gdpo
from assay.worlds import table


class Two:
    """One reward of every completion, and one of those to prompts that are among `some` alone."""

    names, partial = ("first", "second"), True

    def __init__(self, some: tuple[int, ...]):
        self.some = torch.tensor(some, dtype=torch.int64)

    def __call__(self, samples: Samples) -> Tensor:
        first = samples.action[..., 0].double()
        applies = torch.isin(samples.prompts.row, self.some)[:, None].expand_as(first)
        return torch.stack([first, torch.where(applies, -(first**2), torch.nan)])


def stats(some: tuple[int, ...], **constants: object) -> dict[str, float]:
    """Statistics of a first step."""
    task = table.world(seed=0, **BANDIT).task.replaced(rewards=Two(some))
    loop = Loop(max_steps=1, batch_size=4, num_generations=6)
    return dict(next(gdpo.recipe(task, whitened=False, loop=loop, **constants)).stats)  # type: ignore[arg-type]


def test_a_reward_that_never_applies_changes_nothing() -> None:
    both, first = stats(()), stats((), members=1)
    assert both["grad_norm"] == first["grad_norm"] > 0
    assert both["frac_reward_missing"] == 0, "the first reward applies to all"


def test_a_reward_that_applies_to_some_prompts_changes_the_step() -> None:
    assert stats((0, 1, 2, 3))["grad_norm"] != stats(())["grad_norm"]
