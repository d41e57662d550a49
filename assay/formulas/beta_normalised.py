"""Advantages of rewards from 0 to 1, normalised by a Beta density of the prompts' pass rates."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.formulas.advantage import group_centred


@torch.no_grad()
def pass_rates(reward: Float[Tensor, "B N"], present: Bool[Tensor, "B N"]) -> Float[Tensor, "B"]:
    """Mean reward of each prompt's completions; NaN for a prompt without any.

    Args:
        reward: From 0 to 1 `[B, N]`.
        present: Which completions count `[B, N]`.

    Returns:
        `[B]`.

    Raises:
        ValueError: A reward is outside 0 to 1.
    """
    outside = present & ~((reward >= 0) & (reward <= 1))
    if bool(outside.any()):
        raise ValueError(
            f"{int(outside.sum())} rewards are outside 0 to 1, such as "
            f"{float(reward[outside][0]):.3g}; map them there by the least and the most they can be"
        )
    total = torch.where(present, reward, reward.new_zeros(())).sum(-1)
    return total / present.sum(-1)


@torch.no_grad()
def density_of_least_variance(rates: Float[Tensor, "B"]) -> tuple[float, float]:
    """Find α and β by which E[A²] is least over prompts whose pass rates are of a Beta law.

    Beta(a, b) has the rates' mean m and variance v: a = c·m, b = c·(1 − m), c = m(1 − m)/v − 1.
    Then α = 1 + a/3 and β = 1 + b/3.

    Args:
        rates: Pass rates `[B]`; NaN counts as none.

    Returns:
        α and β, at least 1. Both are 1, the plain baseline, where fewer than two rates are known or
        all are equal: there is then no Beta law.

    Source: Xiao et al., "BNPO: Beta Normalization Policy Optimization", arXiv:2506.02864, 2025; the
        variance divides by B − 1 as in its released code.
    """
    known = rates[~torch.isnan(rates)].double()
    if len(known) < 2 or bool((known == known[0]).all()):
        return 1.0, 1.0
    m, v = float(known.mean()), float(known.var())
    c = max(m * (1 - m) / v - 1, 0.0)
    return 1 + c * m / 3, 1 + c * (1 - m) / 3


@torch.no_grad()
def beta_normalised(
    reward: Float[Tensor, "B N"],
    present: Bool[Tensor, "B N"],
    *,
    alpha: float,
    beta: float,
    most: float = 1e6,
) -> Float[Tensor, "B N"]:
    """BNPO: A = (r − p)/f(p; α, β), f the density of Beta(α, β) at the prompt's pass rate p.

    α = β = 1 is REINFORCE with the group's mean as baseline. For rewards of 0 and 1, α = β = 3/2 is
    GRPO up to the constant π/8, since f is then (8/π)·√(p(1 − p)).

    Args:
        reward: From 0 to 1 `[B, N]`.
        present: Which completions count `[B, N]`.
        alpha: α, at least 1.
        beta: β, at least 1.
        most: Largest 1/f.

    Returns:
        Advantages `[B, N]`; 0 for absent completions, and for all of a prompt whose rewards are
        equal.

    Raises:
        ValueError: A reward is outside 0 to 1, or α or β is below 1.

    Source: Xiao et al., arXiv:2506.02864, 2025.
    """
    if not (alpha >= 1 and beta >= 1):
        raise ValueError(f"alpha is {alpha} and beta is {beta}; both must be at least 1")
    p = pass_rates(reward, present)[:, None]
    a, b = p.new_tensor(alpha), p.new_tensor(beta)
    log_f = (
        torch.xlogy(a - 1, p)
        + torch.xlogy(b - 1, 1 - p)
        + torch.lgamma(a + b)
        - torch.lgamma(a)
        - torch.lgamma(b)
    )
    weight = (-log_f).exp().clamp(max=most)
    centred = group_centred(reward, present)
    return torch.where(centred != 0, centred * weight, centred)
