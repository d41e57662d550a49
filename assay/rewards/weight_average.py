"""Averages of members in weight space, and a test whether the path between two members is flat."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from assay.core import Pairs
from assay.errors import InputError
from assay.rewards.fit import Loss, Trainable


def _stacked(model: Trainable) -> nn.Module:
    """Return the model, if the first axis of each parameter is the members."""
    assert isinstance(model, nn.Module)
    if model.members < 2:
        raise InputError(
            "this reward has 1 member, and an average of weights needs at least 2; "
            "give more --members"
        )
    other = [name for name, p in model.named_parameters() if p.shape[:1] != (model.members,)]
    if other:
        raise InputError(
            f"the parameter {other[0]} of this reward does not hold its members along "
            "the first axis, so they cannot be averaged; fit linear or small-Llama "
            "reward models"
        )
    return model


@torch.no_grad()
def of_one_start(model: Trainable, *, only: Callable[[str], bool] = lambda name: True) -> None:
    """Give all members the first member's weights, in place.

    Weights that start apart cannot be averaged.

    Args:
        model: The members.
        only: Selects parameters by name; all of them by default.

    Raises:
        InputError: There is one member, or the weights are not stacked by member.
    """
    for name, p in _stacked(model).named_parameters():
        if only(name):
            p.copy_(p[:1].expand_as(p))


@torch.no_grad()
def average(model: Trainable) -> None:
    """Give all members the mean of their weights, in place.

    Raises:
        InputError: There is one member, or the weights are not stacked by member.
    """
    for p in _stacked(model).parameters():
        p.copy_(p.mean(0, keepdim=True).expand_as(p))


@torch.no_grad()
def hill(model: Trainable, pairs: Pairs, *, loss: Loss, points: int = 5) -> float:
    """Measure the linear connectivity of members: the height of the hill between two of them.

    Linear scores have no hill, because their loss is convex. Members with different starts have one
    of the size of the loss itself.

    Args:
        model: The members.
        pairs: The pairs on which the loss is taken.
        loss: The loss.
        points: Points on the path between two neighbours.

    Returns:
        How far the loss on the path rises above the straight line between its ends, at its highest
        and in the loss's units; the mean over neighbours, 0 where it never rises.
    """

    def losses(there: Trainable) -> Tensor:
        scores = there(pairs)
        p, margin = (x.expand(there.members, -1) for x in (pairs.p, pairs.margin))
        return loss(scores[..., 0], scores[..., 1], p, margin).mean(-1)

    here = losses(model)
    ends, rises = (here, here.roll(-1)), []
    for i in range(points):
        share = (i + 1) / (points + 1)
        between = copy.deepcopy(model)
        for p in _stacked(between).parameters():
            p.copy_((1 - share) * p + share * p.roll(-1, 0))
        rises.append(losses(between) - (1 - share) * ends[0] - share * ends[1])
    return float(torch.stack(rises).amax(0).clamp(min=0).mean())
