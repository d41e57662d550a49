"""TW-GRPO: weigh places of completions by how far a group's next tokens differ there, and give part
of the credit for part of the right choices.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FAR = 11.0  # nats; differences are held within it, as in the released code


@torch.no_grad()
def group_divergence(
    logprobs: Float[Tensor, "B N V"], here: Bool[Tensor, "B N"], *, fill: bool = True
) -> Float[Tensor, "B"]:
    """How far a group's distributions of the next token lie from their geometric mean.

    k = mean_i Σ_v (e^d − d − 1),  d = m_v − log p_iv within ±11,  m_v = mean_i log p_iv

    The sum over the vocabulary is unweighted: it is no KL divergence, and choices that no
    completion would make count as much as any. Choices that are ruled out somewhere (log p = −∞)
    are left out.

    Args:
        logprobs: log p of every choice `[B, N, V]`; not read where a completion has no decision.
        here: Which completions have a decision at this place `[B, N]`.
        fill: The others are uniform, as published, and count: a place where some have ended looks
            decisive. Without it those that have a decision are compared.

    Returns:
        k `[B]`, at least 0; 0 where no completion has a decision.

    Source: Dang et al., "Reinforcing Video Reasoning with Focused Thinking", arXiv:2505.24718,
        2025, as their code has it.
    """
    there = here[..., None]
    can = ~((logprobs == -torch.inf) & there).any(1, keepdim=True)
    n = can.sum(-1, keepdim=True).clamp(min=1)
    uniform = -n.to(logprobs.dtype).log()
    p = torch.where(can & there, logprobs, torch.where(can, uniform, 0.0))
    counts = torch.ones_like(here) if fill else here
    among = counts.sum(1, keepdim=True).clamp(min=1)[..., None]
    m = torch.where(counts[..., None], p, 0.0).sum(1, keepdim=True) / among
    d = (m - p).clamp(-FAR, FAR)
    each = torch.where(can & counts[..., None], torch.expm1(d) - d, 0.0).sum(-1)
    return torch.where(here.any(1), each.sum(1) / among[:, 0, 0], each.new_zeros(()))


@torch.no_grad()
def place_weights(
    divergence: Float[Tensor, "B T"], where: Bool[Tensor, "B T"], *, most: float = 1.7
) -> Float[Tensor, "B T"]:
    """Weights of places: w_t = 1 + (α − 1)·(k_t − min k)/(max k − min k).

    Args:
        divergence: k `[B, T]`.
        where: Places at which a completion of the group has a decision `[B, T]`.
        most: α, the largest weight; at least 1.

    Returns:
        From 1 to α; 1 elsewhere, and where all k of a group are one `[B, T]`.

    Raises:
        ValueError: most is below 1.

    Source: Dang et al., arXiv:2505.24718, 2025.
    """
    if not most >= 1:
        raise ValueError(f"most is {most}; the largest weight must be at least 1")
    low = torch.where(where, divergence, torch.inf).amin(-1, keepdim=True)
    high = torch.where(where, divergence, -torch.inf).amax(-1, keepdim=True)
    wide = high - low
    share = (divergence - low) / torch.where(wide > 0, wide, torch.ones_like(wide))
    return 1 + (most - 1) * torch.where(where & (wide > 0), share, torch.zeros_like(share))


@torch.no_grad()
def partial_credit(
    chosen: Bool[Tensor, "*S C"], right: Bool[Tensor, "*S C"]
) -> Float[Tensor, "*S"]:
    """Reward of an answer that names several choices: |chosen|/|right| if all chosen are right.

    One wrong choice takes all. Naming every choice is thus worth nothing, unless all are right.

    Args:
        chosen: Which choices are named `[*S, C]`.
        right: Which are right, at least one `[*S, C]`.

    Returns:
        From 0 to 1 `[*S]`.

    Raises:
        ValueError: A question has no right choice.

    Source: Dang et al., arXiv:2505.24718, 2025.
    """
    if not bool(right.any(-1).all()):
        raise ValueError("a question has no right choice, and there is nothing to give credit for")
    share = chosen.sum(-1) / right.sum(-1)
    return torch.where((chosen & ~right).any(-1), torch.zeros_like(share), share)
