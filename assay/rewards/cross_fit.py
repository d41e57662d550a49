"""Cross-fitting: scores of pairs by reward models that were not fitted to them, and their trust."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Loop, Pairs, Rng
from assay.errors import InputError
from assay.rewards.fit import Loss, Trainable, trained


def partition(rows: int, members: int, folds: int, rng: Rng) -> Int[Tensor, "M B"]:
    """Draw the fold of each row, a partition of its own for each member.

    Args:
        rows: The number of rows B.
        members: The number of members M.
        folds: The number of folds; they differ in size by at most one row.
        rng: The address of the draw.

    Returns:
        The fold of each row, from 0.

    Raises:
        InputError: There are fewer than 2 folds, or more folds than rows.
    """
    if not 2 <= folds <= rows:
        raise InputError(f"--folds is {folds}; to cross-fit {rows} pairs give 2 to {rows} folds")
    each = [torch.argsort(rng("fold", m).permutation(rows)) % folds for m in range(members)]
    return torch.stack(each)


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
    """Score differences r(first) − r(second) by V = rounds·members voters.

    With `crossfit` a voter is fitted `folds` times, each time without one of its folds, and scores
    that fold: it never saw the pairs that it votes on. Without it a voter that can memorise a wrong
    label votes for it.

    Args:
        model: What the voters are copies of; it stays as it is.
        pairs: The pairs.
        loss: The loss of the fits.
        folds: Folds a voter.
        rounds: How often all members are fitted anew.
        crossfit: Whether voters vote only on pairs that they did not see.
        loop: The loop of each fit.

    Returns:
        The differences; 0 where a completion of the pair is absent.

    Raises:
        InputError: `rounds` is below 1, or `folds` does not fit the pairs.
    """
    if rounds < 1:
        raise InputError(f"--rounds is {rounds}; give at least 1 round of voters")
    out, everything, M = [], torch.arange(len(pairs)), model.members
    for r in range(rounds):
        rng = Rng(loop.seed)("votes", r)
        seed = loop.seed + 7919 * (r + 1)  # not the order of pairs in which `model` was fitted
        steps = replace(loop, seed=seed)
        place = torch.zeros(M, len(pairs)).long()
        if crossfit:
            place = partition(len(pairs), M, folds, rng)
        d = torch.zeros(M, len(pairs))
        for k in range(folds if crossfit else 1):
            voter = copy.deepcopy(model)
            seen = [everything[place[m] != k] for m in range(M)] if crossfit else None
            trained(voter, pairs, loss=loss, rows=seen, loop=steps)
            judge = voter.freeze(tuple(f"voter{m}" for m in range(M)))
            gap = judge(pairs)[..., 0].float() - judge(pairs)[..., 1].float()
            d = torch.where(place == k, gap, d)
        out.append(torch.where(pairs.present.all(-1), d, 0.0))
    return torch.cat(out)


def trust(vote: Float[Tensor, "B"], p: Float[Tensor, "B"], *, most: float = 20.0) -> float:
    """Fit the a ≥ 0 that makes the labels most likely under σ(a·vote): votes times a are log-odds.

    The loss is convex in a, so its slope has one root, which SciPy finds.

    Args:
        vote: Score differences.
        p: The labels: the probability that the first is preferred.
        most: The largest a; it is returned where the votes never err.

    Returns:
        a; 0 where the votes carry no information about the labels.
    """
    from scipy.optimize import brentq

    def slope(a: float) -> float:
        return float((vote * (torch.sigmoid(a * vote) - p)).sum())

    if slope(0.0) >= 0:
        return 0.0
    if slope(most) < 0:
        return most
    return float(brentq(slope, 0.0, most, xtol=1e-12))
