"""Routing questions to models of different price: rewards of format, answer and cost."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def cheapness(
    cost: Float[Tensor, "n"],
    window: Float[Tensor, "w"],
    *,
    size: int = 1000,
    low: float = 0.05,
    high: float = 0.95,
) -> tuple[Float[Tensor, "n"], Float[Tensor, "v"]]:
    """How cheap each completion is among the last ones, from 0 to 1.

    c = 1 − clip((√cost − q_low)/(q_high − q_low), 0, 1), with the quantiles of √cost in a window of
    the last `size` completions, this one included. The completions enter one after the other, so c
    depends on their order. Where the two quantiles are equal, c is ½; a first completion's are.

    Args:
        cost: Cost of each completion, at least 0 `[n]`.
        window: √cost of the completions before these, the oldest first `[w]`.
        size: Completions of the window, at most.
        low: Lower quantile, from 0 to `high`.
        high: Upper quantile, up to 1.

    Returns:
        (c `[n]`, the window after these completions `[v]`, v ≤ size).

    Raises:
        ValueError: A cost is below 0 or NaN, or the window or quantiles are out of range.

    Source: Zhang et al., "Router-R1", arXiv:2506.09033, 2025, and its released code.
    """
    if not bool((cost >= 0).all()):
        raise ValueError("a cost is below 0 or NaN; give the price of what was asked, at least 0")
    if size < 1 or not 0 <= low <= high <= 1:
        raise ValueError(
            f"size is {size}, low {low} and high {high}; give a window of at least 1 and "
            "0 ≤ low ≤ high ≤ 1"
        )
    root = cost.sqrt()
    seen = torch.cat([window.to(root), root])
    q = torch.tensor([low, high], dtype=root.dtype, device=root.device)
    out = torch.full_like(root, 0.5)
    for i in range(len(root)):
        end = len(window) + i + 1
        bottom, top = torch.quantile(seen[max(0, end - size) : end], q)
        if float(top - bottom) > 1e-8:
            out[i] = 1 - ((root[i] - bottom) / (top - bottom)).clamp(0, 1)
    return out, seen[-size:]


def routing_reward(
    score: Float[Tensor, "*S"],
    formed: Bool[Tensor, "*S"],
    cheap: Float[Tensor, "*S"],
    *,
    alpha: float,
    punishment: float = -1.0,
) -> Float[Tensor, "*S"]:
    """Reward of a routed answer, by stages.

    `punishment` where the form is wrong; 0 where the score is 0; else (1 − α)·score + α·c. Cost is
    paid for right answers alone: one that is wrong costs nothing, whatever was asked for it.

    Args:
        score: Score of the answer, from 0 to 1 `[*S]`.
        formed: Whether the form is right `[*S]`.
        cheap: c, see `cheapness` `[*S]`.
        alpha: Weight of c, from 0 to 1.
        punishment: Reward of a wrong form.

    Returns:
        `[*S]`.

    Raises:
        ValueError: alpha is out of range.

    Source: Zhang et al., "Router-R1", arXiv:2506.09033, 2025, and its released code.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it is the share of the cost's reward, from 0 to 1")
    answered = torch.where(score > 0, (1 - alpha) * score + alpha * cheap, 0.0)
    return torch.where(formed, answered, punishment)
