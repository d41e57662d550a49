"""What a pair says is what a recipe hears: its label may be soft, and the order of its answers is
no more than a label.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from assay.core import Carry, Loop, Pairs, Task
from assay.recipes import dpo
from assay.worlds import table


def trained(task: Task, pairs: Pairs) -> Tensor:
    *_, last = dpo.recipe(
        task.replaced(pairs=pairs, carry=Carry()),
        loop=Loop(max_steps=5, batch_size=16, learning_rate=0.05),
    )
    return last.policy.logits.detach()


def test_dpo_hears_how_sure_a_label_is() -> None:
    task = table.world(testbed="bandit", prompts=4, responses=24, pairs=40, members=1).task
    pairs = task.pairs
    turned = pairs.pick(torch.tensor([[1, 0]]).expand(len(pairs), 2))
    wrong = replace(
        turned, p=torch.zeros(len(pairs))
    )  # the second answer is the better: the same labels in other words
    torch.testing.assert_close(trained(task, wrong), trained(task, pairs))
    sure, unsure = (
        trained(task, replace(pairs, p=torch.full((len(pairs),), p))) for p in (1.0, 0.75)
    )
    assert (sure - unsure).abs().max() > 1e-3
