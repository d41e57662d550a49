"""A bonus for right completions whose reasoning makes their own answer likely."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@torch.no_grad()
def answer_likelihood(
    logp: Float[Tensor, "B N T"], answer: Bool[Tensor, "B N T"], *, most: float = 0.95
) -> Float[Tensor, "B N"]:
    """How likely an answer is after its reasoning: c = min(exp(mean of log p over its tokens), m).

    Args:
        logp: log p of each token, the ones before it given, `[B, N, T]`.
        answer: Which tokens are the answer's `[B, N, T]`.
        most: m; likelihoods above it count alike. 1 for no limit.

    Returns:
        c `[B, N]`, from 0 to m; 0 where there is no answer.

    Source: Chen et al. (GRPO-CARE), arXiv:2506.16141, 2025. Their code gives a completion without
        an answer the greatest likelihood.
    """
    n = answer.sum(-1)
    total = torch.where(answer, logp, logp.new_zeros(())).sum(-1)
    mean = total / n.clamp(min=1)
    return torch.where(n > 0, mean.exp().clamp(max=most), mean.new_zeros(()))


@torch.no_grad()
def good_completions(
    reward: Float[Tensor, "B N"], present: Bool[Tensor, "B N"], *, right: float = 0.1
) -> Bool[Tensor, "B N"]:
    """Completions above a least reward and not below the mean of their prompt's.

    Args:
        reward: r `[B, N]`.
        present: Which completions count `[B, N]`.
        right: Reward above which a completion can be good.

    Returns:
        `[B, N]`.

    Source: Chen et al. (GRPO-CARE), arXiv:2506.16141, 2025.
    """
    return present & (reward > right) & (reward >= _mean(reward, present) - _rounding(reward))


@torch.no_grad()
def consistency_bonus(
    reward: Float[Tensor, "B N"],
    likelihood: Float[Tensor, "B N"],
    present: Bool[Tensor, "B N"],
    *,
    coefficient: float = 0.5,
    margin: float = 0.01,
    right: float = 0.1,
) -> Float[Tensor, "B N"]:
    """Bonus of a prompt's good completions that are as consistent as their mean.

        good:  r_i > right and r_i ≥ the mean of the prompt's rewards
        b_i = coefficient·r_i   if i is good and c_i ≥ (mean of c over good ones) − margin, else 0

    Of several good completions at least one has the bonus, and the only one always has it.

    Args:
        reward: r `[B, N]`.
        likelihood: c of each completion's answer `[B, N]`.
        present: Which completions count `[B, N]`.
        coefficient: Share of the reward that is given once more.
        margin: By how much c may lie below the mean.
        right: Reward above which a completion can be good.

    Returns:
        b `[B, N]`.

    Source: Chen et al. (GRPO-CARE), arXiv:2506.16141, 2025. Their code takes both means over a
        device's batch, which is one prompt only where it holds one.
    """
    good = good_completions(reward, present, right=right)
    near = likelihood >= _mean(likelihood, good) - margin - _rounding(likelihood)
    return torch.where(good & near, coefficient * reward, reward.new_zeros(()))


def _mean(x: Tensor, where: Tensor) -> Tensor:
    """Mean along the last axis over the places `where`, 0 where there are none."""
    total = torch.where(where, x, x.new_zeros(())).sum(-1, keepdim=True)
    return total / where.sum(-1, keepdim=True).clamp(min=1)


def _rounding(x: Tensor) -> Tensor:
    """How far the mean of equal numbers may round away from them."""
    return 4 * torch.finfo(x.dtype).eps * x.abs().amax(-1, keepdim=True)
