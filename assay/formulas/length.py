"""Penalties for long completions."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def length_penalty(
    reward: Float[Tensor, "B N"], length: Int[Tensor, "B N"], *, per: float = 0.01, free: int = 0
) -> Float[Tensor, "B N"]:
    """Subtract a penalty for length: r − per·max(0, length − free).

    Args:
        reward: The raw score `[B, N]`, before any other shaping.
        length: Tokens `[B, N]`.
        per: Penalty a token.
        free: Tokens without penalty.

    Returns:
        `[B, N]`.
    """
    return reward - per * (length - free).clamp(min=0).to(reward.dtype)


def overlong(length: Int[Tensor, "B N"], *, limit: int, cushion: int) -> Float[Tensor, "B N"]:
    """Soft overlong penalty, to be added to the reward.

    0 up to limit − cushion, falling to −1 at limit, −1 beyond

    Args:
        length: Tokens `[B, N]`.
        limit: Tokens.
        cushion: Tokens over which it falls, from 1 to limit.

    Returns:
        `[B, N]`.

    Raises:
        ValueError: cushion is outside 1 … limit.

    Source: Yu et al., "DAPO", arXiv:2503.14476, 2025.
    """
    if not 0 < cushion <= limit:
        raise ValueError(f"cushion is {cushion} and limit {limit}; the cushion lies in 1 … limit")
    return ((limit - cushion - length).to(torch.get_default_dtype()) / cushion).clamp(-1, 0)
