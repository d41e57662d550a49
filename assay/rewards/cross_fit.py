"""Cross-fitting: what judges say of pairs on which they were not fitted, and how far such votes are
to be believed.
"""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Loop, Pairs, Rng
from assay.errors import InputError
from assay.rewards.fit import Loss, Trainable, trained


def partition(rows: int, members: int, folds: int, rng: Rng) -> Int[Tensor, "M B"]:
    """The fold of each row, every member's partition its own; folds differ in size by at most one
    row.
    """
    if not 2 <= folds <= rows:
        raise InputError(
            f"--folds is {folds}; cross-fitting {rows} pairs needs from 2 to {rows} folds"
        )
    return torch.stack(
        [torch.argsort(rng("fold", m).permutation(rows)) % folds for m in range(members)]
    )


def votes(
    model: Trainable,
    pairs: Pairs,
    *,
    loss: Loss,
    folds: int,
    rounds: int = 1,
    crossfit: bool = True,
    loop: Loop,
) -> Float[Tensor, "V B"]:
    """Score differences d = r(first) − r(second) by V = rounds·members voters, copies of `model` as
    it is, which stays so.

    With `crossfit` every difference is by a voter that did not see its pair: a voter is fitted
    `folds` times, each time without one of its folds, and scores that one. Without it the voters
    score what they were fitted on: a voter that can remember a wrong label then votes for it. A
    pair of which an answer is absent gets 0.
    """
    if rounds < 1:
        raise InputError(f"--rounds is {rounds}; at least one round of voters is needed")
    out, everything = [], torch.arange(len(pairs))
    for r in range(rounds):
        rng = Rng(loop.seed)("votes", r)
        steps = Loop(
            **{**vars(loop), "seed": loop.seed + 7919 * (r + 1)}
        )  # an order of the pairs that is not the judges' own
        place = (
            partition(len(pairs), model.members, folds, rng)
            if crossfit
            else torch.zeros(model.members, len(pairs)).long()
        )
        d = torch.zeros(model.members, len(pairs))
        for k in range(folds if crossfit else 1):
            voter = copy.deepcopy(model)
            seen = [everything[place[m] != k] for m in range(model.members)] if crossfit else None
            trained(voter, pairs, loss=loss, rows=seen, loop=steps)
            judge = voter.freeze(tuple(f"voter{m}" for m in range(model.members)))
            d = torch.where(
                place == k, judge(pairs)[..., 0].float() - judge(pairs)[..., 1].float(), d
            )
        out.append(torch.where(pairs.present.all(-1), d, 0.0))
    return torch.cat(out)


def trust(vote: Float[Tensor, "B"], p: Float[Tensor, "B"], *, most: float = 20.0) -> float:
    """The a ≥ 0 that makes σ(a·vote) the likeliest of the labels: votes times a are log-odds.
    `most` where they never err.

    The loss is convex in a, so the root of its slope is found by bisection. Votes that say less
    than nothing give 0.
    """

    def slope(a: float) -> float:
        return float((vote * (torch.sigmoid(a * vote) - p)).sum())

    if slope(0.0) >= 0:
        return 0.0
    low, high = 0.0, most
    if slope(high) < 0:
        return most
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2
