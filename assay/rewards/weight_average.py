"""Averages of members in weight space, and whether the way between two of them is flat enough for
that.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from assay.core import Pairs
from assay.errors import InputError
from assay.rewards.fit import Loss, Trainable


def _stacked(model: Trainable) -> nn.Module:
    """The model, whose parameters have its members as their first axis. Raises InputError where
    they have not.
    """
    assert isinstance(model, nn.Module)
    if model.members < 2:
        raise InputError(
            "these judges have 1 member, and an average in weight space needs at least 2; give "
            "more members"
        )
    other = [name for name, p in model.named_parameters() if p.shape[:1] != (model.members,)]
    if other:
        raise InputError(
            f"the weights of these judges do not stand member by member ({other[0]}), so they "
            "cannot be averaged; fit linear or small-Llama judges"
        )
    return model


@torch.no_grad()
def of_one_start(model: Trainable, *, only: Callable[[str], bool] = lambda name: True) -> None:
    """Give all members the first member's weights, in place: weights that began apart cannot be
    averaged. `only` may name some of the parameters.
    """
    for name, p in _stacked(model).named_parameters():
        if only(name):
            p.copy_(p[:1].expand_as(p))


@torch.no_grad()
def average(model: Trainable) -> None:
    """Give all members the mean of their weights, in place."""
    for p in _stacked(model).parameters():
        p.copy_(p.mean(0, keepdim=True).expand_as(p))


@torch.no_grad()
def hill(model: Trainable, pairs: Pairs, *, loss: Loss, points: int = 5) -> float:
    """The linear connectivity of members, in the loss's units: how far the loss on the way between
    two neighbours rises above the straight line between its ends, at its highest; mean over
    neighbours, 0 where it never does.

    Linear scores have none, their loss being convex. Members of different starts have one of the
    loss's own size.
    """

    def losses(there: Trainable) -> Tensor:
        scores = there(pairs)
        return loss(
            scores[..., 0],
            scores[..., 1],
            pairs.p.expand(there.members, -1),
            pairs.margin.expand(there.members, -1),
        ).mean(-1)

    here = losses(model)
    ends, rises = (here, here.roll(-1)), []
    for i in range(points):
        share = (i + 1) / (points + 1)
        between = copy.deepcopy(model)
        for p in _stacked(between).parameters():
            p.copy_((1 - share) * p + share * p.roll(-1, 0))
        rises.append(losses(between) - (1 - share) * ends[0] - share * ends[1])
    return float(torch.stack(rises).amax(0).clamp(min=0).mean())
