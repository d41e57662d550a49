"""What moves a policy's entropy, and which tokens to hold so that it moves less.

To first order a step of the policy gradient changes the entropy by minus the covariance of
log-probability and advantage: tokens that are likely and good, or unlikely and bad, spend it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.formulas.surrogate import log_ratio


@torch.no_grad()
def entropy_drift(
    logprobs: Float[Tensor, "*S V"], advantage: Float[Tensor, "*S V"], *, natural: bool = False
) -> Float[Tensor, "*S"]:
    """First-order change of a softmax's entropy a unit of learning rate.

    ΔH/η = −Cov_π(log π, π·A) for the policy gradient, −Cov_π(log π, A) for the natural one.

    Args:
        logprobs: log π, normalised `[*S, V]`.
        advantage: A `[*S, V]`; its mean under π is subtracted.
        natural: Of the natural policy gradient.

    Returns:
        `[*S]` in nats.

    Source: Cui et al., "The Entropy Mechanism of Reinforcement Learning for Reasoning Language
        Models", arXiv:2505.22617, 2025.
    """
    p = logprobs.exp()
    a = advantage - (p * advantage).sum(-1, keepdim=True)
    step = a if natural else p * a
    centred = logprobs - (p * logprobs).sum(-1, keepdim=True)
    return -(p * centred * step).sum(-1)


@torch.no_grad()
def covariances(
    logp: Float[Tensor, "B N T"], advantage: Float[Tensor, "B N #T"], mask: Bool[Tensor, "B N T"]
) -> Float[Tensor, "B N T"]:
    """Each token's part of the covariance: c = (A − Ā)·(log π − mean log π), means over all tokens.

    Args:
        logp: log π `[B, N, T]`.
        advantage: A `[B, N, T]` or `[B, N, 1]`.
        mask: The policy's own decisions `[B, N, T]`.

    Returns:
        `[B, N, T]`, −∞ where masked.

    Source: Cui et al., arXiv:2505.22617, 2025.
    """
    zero, count = logp.new_zeros(()), mask.sum().clamp(min=1)
    a, own = (torch.where(mask, x, zero) for x in (advantage.expand_as(logp), logp))
    c = (a - a.sum() / count) * (own - own.sum() / count)
    return torch.where(mask, c, -torch.inf)


@torch.no_grad()
def clip_cov(
    cov: Float[Tensor, "B N T"],
    u: Float[Tensor, "B N T"],
    *,
    share: float = 2e-4,
    low: float = 1.0,
    high: float = 5.0,
) -> Bool[Tensor, "B N T"]:
    """Clip-Cov: pick tokens of large covariance at random; they are not learned from.

    Args:
        cov: See `covariances`.
        u: One number a token `[B, N, T]`; those with the smallest are picked.
        share: How many, of all tokens; at least one if it is above 0.
        low: Covariances above this alone.
        high: Covariances below this alone.

    Returns:
        `[B, N, T]`, True where a token is picked.

    Raises:
        ValueError: share is not from 0 to 1.

    Source: Cui et al., arXiv:2505.22617, 2025.
    """
    inside = (cov > low) & (cov < high)
    return _first(torch.where(inside, u, torch.inf), _count(cov, share))


@torch.no_grad()
def top_cov(cov: Float[Tensor, "B N T"], *, share: float = 2e-3) -> Bool[Tensor, "B N T"]:
    """KL-Cov: pick the tokens of the largest covariance; they are held by a KL penalty.

    Args:
        cov: See `covariances`.
        share: How many, of all tokens; at least one if it is above 0.

    Returns:
        `[B, N, T]`, True where a token is picked.

    Raises:
        ValueError: share is not from 0 to 1.

    Source: Cui et al., arXiv:2505.22617, 2025.
    """
    return _first(-cov, _count(cov, share))


def held(
    logp: Float[Tensor, "B N T"],
    old_logp: Float[Tensor, "B N T"],
    advantage: Float[Tensor, "B N #T"],
    picked: Bool[Tensor, "B N T"],
    *,
    beta: float = 1.0,
) -> Float[Tensor, "B N T"]:
    """KL-Cov's loss: −A·ρ, and + β·|log π − log π_old| on picked tokens; nothing is clipped.

    The penalty has no gradient at π = π_old, so that with one update a batch it does nothing.

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log π_old `[B, N, T]`.
        advantage: A `[B, N, T]` or `[B, N, 1]`.
        picked: See `top_cov`.
        beta: β, at least 0.

    Returns:
        `[B, N, T]`.

    Raises:
        ValueError: beta is negative, or old_logp is NaN.

    Source: Cui et al., arXiv:2505.22617, 2025.
    """
    if not beta >= 0:
        raise ValueError(f"beta is {beta}; the weight of the penalty must be at least 0")
    d = log_ratio(logp, old_logp)
    plain = -advantage.detach() * d.exp()
    return torch.where(picked, plain + beta * d.abs(), plain)


def _count(cov: Tensor, share: float) -> int:
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it is a share of all tokens, from 0 to 1")
    tokens = int((cov > -torch.inf).sum())
    return max(int(share * tokens), 1) if share and tokens else 0


def _first(key: Tensor, count: int) -> Tensor:
    """The places of the smallest finite keys, `count` at most."""
    flat = key.flatten()
    picked = torch.zeros_like(flat, dtype=torch.bool)
    picked[flat.argsort(stable=True)[:count]] = True
    return (picked & (flat < torch.inf)).reshape(key.shape)
