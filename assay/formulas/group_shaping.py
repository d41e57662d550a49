"""Which of a group's completions are learned from, and by which baseline. No gradient passes."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@torch.no_grad()
def without_surplus(
    reward: Float[Tensor, "B N"], present: Bool[Tensor, "B N"], u: Float[Tensor, "B N"]
) -> Bool[Tensor, "B N"]:
    """RED-Drop: leave out as many bad completions of a group as outnumber its good ones.

    Good is r ≥ r̄, so that a group of equal rewards has no bad one. Which of the bad ones stay is
    up to u.

    Args:
        reward: `[B, N]`.
        present: Which completions count `[B, N]`.
        u: One number a completion `[B, N]`; the bad ones with the smallest are left out.

    Returns:
        `[B, N]`, True where a completion is kept. Take advantages anew among these.

    Source: Yao et al., "Group-Relative REINFORCE Is Secretly an Off-Policy Algorithm",
        arXiv:2509.24203, 2025.
    """
    # from the least reward on, so that equal rewards are equal to their mean to the last digit
    above = torch.where(present, reward - _least(reward, present), reward.new_zeros(()))
    mean = above.sum(-1, keepdim=True) / present.sum(-1, keepdim=True).clamp(min=1)
    good = present & (above >= mean)
    bad = present & ~good
    surplus = (bad.sum(-1) - good.sum(-1)).clamp(min=0)
    order = torch.where(bad, u, torch.inf).argsort(-1).argsort(-1)
    return present & ~(bad & (order < surplus[:, None]))


@torch.no_grad()
def log_mean_exp_centred(
    reward: Float[Tensor, "B N"], present: Bool[Tensor, "B N"], *, tau: float
) -> Float[Tensor, "B N"]:
    """Reward minus τ·log mean exp(r/τ) of the group: the estimate of τ·log Z.

    Aᵢ = rᵢ − τ·log((1/K)·Σⱼ e^{rⱼ/τ})

    As τ → ∞ the baseline is the mean; as τ → 0 it is the largest reward.

    Args:
        reward: `[B, N]`.
        present: Which completions count `[B, N]`.
        tau: τ, in units of the reward; above 0.

    Returns:
        Advantages `[B, N]`, 0 for absent completions.

    Raises:
        ValueError: tau is not above 0.

    Source: The released code of Yao et al., arXiv:2509.24203, 2025.
    """
    if not tau > 0:
        raise ValueError(f"tau is {tau}; the temperature of log mean exp must be above 0")
    kept = torch.where(present, reward / tau, -torch.inf)
    count = present.sum(-1, keepdim=True).clamp(min=1).to(reward.dtype)
    baseline = tau * (kept.logsumexp(-1, keepdim=True) - count.log())
    return torch.where(present, reward - baseline, reward.new_zeros(()))


def _least(reward: Tensor, present: Tensor) -> Tensor:
    return torch.where(present, reward, torch.inf).amin(-1, keepdim=True)
