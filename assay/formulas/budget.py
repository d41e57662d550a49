"""How many completions each prompt is worth: the value of a group, and the best division."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def group_value(
    n: Float[Tensor, "*#S"] | Int[Tensor, "*#S"], p: Float[Tensor, "*#S"]
) -> Float[Tensor, "*#S"]:
    """Value of n completions to a prompt of pass rate p: V = (1 − pⁿ − (1−p)ⁿ)·p·(1−p)².

    The first factor is the chance that the group has both a right and a wrong answer, so that its
    advantages are not all 0; the rest is what an update on it is taken to gain, largest at p = 1/3.

    Args:
        n: Completions, at least 1.
        p: Pass rate, in [0, 1].

    Returns:
        V, 0 at p = 0, at p = 1 and at n = 1.

    Source: Li et al., "Knapsack RL", arXiv:2509.25849, 2025.
    """
    return (1 - p**n - (1 - p) ** n) * p * (1 - p) ** 2


def marginal_value(
    n: Float[Tensor, "*#S"] | Int[Tensor, "*#S"], p: Float[Tensor, "*#S"]
) -> Float[Tensor, "*#S"]:
    """Gain of one more completion: V(n+1) − V(n) = (pⁿ(1−p) + (1−p)ⁿp)·p·(1−p)².

    It never rises with n.

    Args:
        n: Completions so far.
        p: Pass rate, in [0, 1].

    Returns:
        At least 0, without cancellation.
    """
    return (p**n * (1 - p) + (1 - p) ** n * p) * p * (1 - p) ** 2


def enough(p: Float[Tensor, "M"], *, alpha: float = 0.9) -> Float[Tensor, "M"]:
    """Completions until one kind of answer alone has a chance of at most 1 − α.

    n = log(1 − α)/log max(p, 1 − p)

    Args:
        p: Pass rates.
        alpha: α, in (0, 1).

    Returns:
        `[M]`, infinite at p = 0 and p = 1.

    Source: Li et al., arXiv:2509.25849, 2025, the cost of a task.
    """
    rarer = -torch.maximum(p, 1 - p).log()
    return torch.where(rarer > 0, -math.log(1 - alpha) / rarer, torch.inf)


def allocate(
    p: Float[Tensor, "M"], *, total: int, low: int = 2, high: int = 128
) -> Int[Tensor, "M"]:
    """Divide a budget of completions so that Σ V(n_q, p_q) is greatest.

    maximise Σ_q V(n_q, p_q)  with  Σ n_q = total,  low ≤ n_q ≤ high

    Marginal gains never rise, so giving each completion to whoever gains most is exactly optimal,
    and no dynamic programme is needed. What is left when no gain is above 0 goes to prompts with
    p = 0 and then to those with p = 1, one each in turn.

    Args:
        p: Pass rates of M prompts, in [0, 1].
        total: Completions in all, from M·low to M·high.
        low: Fewest completions of a prompt, at least 1.
        high: Most completions of a prompt.

    Returns:
        n `[M]`.

    Raises:
        ValueError: The budget does not lie between M·low and M·high, or a pass rate is none.

    Source: Li et al., "Knapsack RL", arXiv:2509.25849, 2025.
    """
    M = len(p)
    if not (1 <= low <= high and M * low <= total <= M * high):
        raise ValueError(
            f"{total} completions cannot be divided among {M} prompts of at least {low} and at "
            f"most {high} each; change the budget or the limits"
        )
    p = p.double().cpu()
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError("a pass rate is NaN or outside [0, 1]; give one for each prompt")
    n = torch.full((M,), low, dtype=torch.int64)
    left = total - M * low
    steps = torch.arange(low, high)
    gains = marginal_value(steps[:, None], p[None]).flatten()  # by step: ties stay in order
    worth = int((gains > 0).sum())
    best = gains.argsort(descending=True, stable=True)[: min(left, worth)] % max(M, 1)
    n += torch.bincount(best, minlength=M)
    left -= len(best)
    for idle in (p == 0, p == 1, torch.ones_like(p, dtype=torch.bool)):
        while left and bool((free := idle & (n < high)).any()):
            here = free.nonzero()[:, 0][:left]
            n[here] += 1
            left -= len(here)
    return n
