"""A small decision process with its gold and its proxies, and how to write one down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from assay.models.process import Process


@dataclass(frozen=True)
class Testbed:
    """A decision process with S states and A actions, a base policy, a gold and M proxies.

    Attributes:
        process: States, actions, transitions, starts, horizon and discount.
        logits: The base policy `[S, A]`.
        gold: Gold of an action in a state `[S, A]`.
        names: The proxies' names.
        proxies: What each proxy gives an action in a state `[M, S, A]`.
        penalty: Factor of an action in a state `[S, A]`, see `mdp.ProductGold`; None for a gold
            that is a sum.
        standard: Whether gold and proxies are brought to mean 0 and standard deviation 1 under the
            base policy.
    """

    process: Process
    logits: Float[Tensor, "S A"]
    gold: Float[Tensor, "S A"]
    names: tuple[str, ...]
    proxies: Float[Tensor, "M S A"]
    penalty: Float[Tensor, "S A"] | None = None
    standard: bool = False


def process_of(
    states: list[str],
    actions: tuple[str, ...],
    move: Callable[[int, int], dict[int, float]],
    starts: list[int],
    *,
    horizon: int,
    gamma: float,
    terminal: int = -1,
) -> Process:
    """A process from a function that moves.

    Args:
        states: Names of the states.
        actions: Names of the actions.
        move: (state, action) to {next state: probability}; not asked in the terminal state.
        starts: States in which an episode starts, all equally likely.
        horizon: Most decisions of an episode.
        gamma: Discount.
        terminal: State that is never left; -1 for none.
    """
    S = len(states)
    P = torch.zeros(S, len(actions), S, dtype=torch.float64)
    for s, a in product(range(S), range(len(actions))):
        for after, p in ({s: 1.0} if s == terminal else move(s, a)).items():
            P[s, a, after] += p
    start = torch.zeros(S, dtype=torch.float64)
    for s in starts:
        start[s] += 1 / len(starts)
    return Process(
        P / P.sum(-1, keepdim=True),
        torch.arange(S) == terminal,
        start,
        horizon,
        gamma,
        tuple(states),
        actions,
    )
