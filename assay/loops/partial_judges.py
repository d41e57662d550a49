"""Judges of two decisions in partly seen states, fitted to what people prefer.

A case is a state of F features and two decisions. A judge scores a decision from the features that
are shown and from which they are, J(s⊙m, m, a).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.core import Loop, Rng
from assay.engine.descend import descend
from assay.formulas.pairwise import bradley_terry
from assay.loops.sequences import Drift, Network, worth


@dataclass(frozen=True)
class Compared:
    """Pairs of decisions in partly seen states, of which people preferred the first.

    Attributes:
        seen: (s⊙m, m).
        chosen: The preferred decision.
        rejected: The other.
        mask: True throughout.
    """

    seen: Float[Tensor, "n I"]
    chosen: Int[Tensor, "n"]
    rejected: Int[Tensor, "n"]
    mask: Bool[Tensor, "n 1"]

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: Any) -> Compared:
        return Compared(*(getattr(self, f.name)[rows] for f in fields(self)))


def fit_judge(judge: Network, pairs: Compared, rng: Rng, loop: Loop) -> None:
    """Fit a judge to preferences by Bradley–Terry, in place.

    Args:
        judge: From (s⊙m, m) to a score for every decision.
        pairs: The comparisons.
        rng: Address of the order of the rows.
        loop: Steps and rows a step.
    """
    opt = loop.optimiser(judge)

    def loss(x: Compared, _: Tensor) -> Tensor:
        J = judge(x.seen)
        of = [J.gather(-1, a[:, None])[:, 0] for a in (x.chosen, x.rejected)]
        once = torch.ones_like(of[0])
        return bradley_terry(*of, p=once, margin=torch.zeros_like(once))

    for t in range(loop.max_steps):
        rows = rng("rows", t).integers(len(pairs), torch.arange(loop.batch_size))
        descend(opt, loss, pairs[rows], reduce=lambda mask: mask[:, 0].double() / len(mask))


def judge_of(
    place: Drift, pairs: int, horizon: int, reveal: int, noise: float, rng: Rng
) -> tuple[Network, float]:
    """Fit a judge to comparisons in states of which it sees so many features at random.

    Judges of the same address are fitted to the same comparisons, whatever they see of them.

    Args:
        place: The process.
        pairs: Comparisons.
        horizon: Decisions of an episode, from which the states are.
        reveal: Features that are seen; all of them for a judge of whole states.
        noise: Temperature of the people's choices.
        rng: Address of weights, comparisons and fit.

    Returns:
        The judge, and the share of fresh comparisons on which it says what people prefer.
    """
    A, F = place.pays.shape
    judge = Network(2 * F, A, rng("judge"))
    compared = comparisons(place, pairs, horizon, reveal, noise, rng("pairs"))
    fit_judge(judge, compared, rng("fit"), Loop(max_steps=300, batch_size=256, learning_rate=3e-3))
    judge.requires_grad_(False)
    fresh = comparisons(place, 2000, horizon, reveal, 1e-6, rng("fresh"))  # without noise
    with torch.no_grad():
        J = judge(fresh.seen)
        leads = (J.gather(-1, d[:, None])[:, 0] for d in (fresh.chosen, fresh.rejected))
        right = torch.gt(*leads).double().mean()
    return judge, float(right)


def lead(
    judge: nn.Module, state: Tensor, shown: Tensor, mine: Tensor, other: Tensor
) -> Float[Tensor, "n"]:
    """J of one decision minus J of the other when these features are shown."""
    m = shown.to(state.dtype)
    J = judge(torch.cat([state * m, m], -1))
    return (J.gather(-1, mine[:, None]) - J.gather(-1, other[:, None]))[:, 0]


def some(n: int, features: int, reveal: int, rng: Rng) -> Bool[Tensor, "n F"]:
    """So many features of each state, at random."""
    chance = rng("features").uniform(torch.arange(n)[:, None], torch.arange(features))
    return chance.argsort(1).argsort(1) < reveal


def preferences(
    place: Drift, pairs: int, horizon: int, noise: float, rng: Rng
) -> tuple[Float[Tensor, "n F"], Int[Tensor, "n"], Int[Tensor, "n"]]:
    """People compare two decisions at random in states at random.

    Args:
        place: The process.
        pairs: Comparisons.
        horizon: Decisions of an episode, from which the states are.
        noise: Temperature of the people's choices.
        rng: Address of states, decisions and choices.

    Returns:
        The states, the preferred decisions and the others.
    """
    A = len(place.liked)
    s = place.rollout(None, -(-pairs // horizon), horizon, rng("states"), greedily=False)["seen"]
    s, p = s.flatten(0, 1)[:pairs], torch.arange(pairs)
    one, other = rng("one").integers(A, p), rng("other").integers(A - 1, p)
    other = torch.where(other >= one, other + 1, other)
    first = torch.sigmoid((worth(s, one, place.liked) - worth(s, other, place.liked)) / noise)
    won = rng("label").uniform(p) < first
    return s, torch.where(won, one, other), torch.where(won, other, one)


def comparisons(
    place: Drift, pairs: int, horizon: int, reveal: int, noise: float, rng: Rng
) -> Compared:
    """The same `preferences` as a judge sees them, who sees so many features at random."""
    s, chosen, rejected = preferences(place, pairs, horizon, noise, rng)
    m = some(pairs, s.shape[1], reveal, rng("mask")).to(s.dtype)
    seen = torch.cat([s * m, m], -1)
    return Compared(seen, chosen, rejected, torch.ones(pairs, 1, dtype=torch.bool))
