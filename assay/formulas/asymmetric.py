"""APO: good completions are held to the reference by how easy their prompt is, and bad ones pay for
length.

Both are factors of a completion, and neither is learned through.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@torch.no_grad()
def pass_rate(right: Bool[Tensor, "B N"], present: Bool[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Share of a prompt's completions that are right, the same for each of them.

    Args:
        right: Which completions are right `[B, N]`.
        present: Which completions count `[B, N]`.

    Returns:
        `[B, N]`, 0 where a prompt has no completion.
    """
    n = present.sum(-1, keepdim=True)
    share = (right & present).sum(-1, keepdim=True) / n.clamp(min=1)
    return share.expand(right.shape)


@torch.no_grad()
def difficulty_weight(
    rate: Float[Tensor, "*S"], *, steepness: float = math.e
) -> Float[Tensor, "*S"]:
    """Weight of a good completion's KL term by its prompt's pass rate p: w = 1 − e^(−s·p).

    It rises with p: good completions of hard prompts may leave the reference. At p of 0 and 1 it is
    1. With s = e it is 1 − e^(−e) = .934 just below p = 1, and .288 at p = 1/8.

    Args:
        rate: p, from 0 to 1 `[*S]`.
        steepness: s, above 0.

    Returns:
        `[*S]`, above 0 and at most 1.

    Raises:
        ValueError: steepness is not above 0, or a rate is not from 0 to 1.

    Source: Hong et al., "APO", arXiv:2506.21655, 2025, as their code has it; there difficulty is
        d = 1 − p.
    """
    if not steepness > 0:
        raise ValueError(f"steepness is {steepness}; it must be above 0")
    if not bool(((rate >= 0) & (rate <= 1)).all()):
        raise ValueError("a pass rate is a share, from 0 to 1, and some are outside or NaN")
    inside = (rate > 0) & (rate < 1)
    return torch.where(inside, -torch.expm1(-steepness * rate), torch.ones_like(rate))


@torch.no_grad()
def excess_length(
    length: Int[Tensor, "B N"], right: Bool[Tensor, "B N"], present: Bool[Tensor, "B N"]
) -> Float[Tensor, "B N"]:
    """How much longer a wrong completion is than its prompt's right ones on average, in tokens.

    Args:
        length: Tokens `[B, N]`.
        right: Which completions are right `[B, N]`.
        present: Which completions count `[B, N]`.

    Returns:
        `[B, N]`, at least 0: 0 of right, absent and shorter completions, and where no completion
        of the prompt is right.
    """
    good = right & present
    n = good.sum(-1, keepdim=True)
    total = torch.where(good, length, torch.zeros_like(length)).sum(-1, keepdim=True)
    over = (length - total / n.clamp(min=1)).clamp(min=0)
    return torch.where(present & ~right & (n > 0), over, torch.zeros_like(over))


@torch.no_grad()
def complexity_factor(excess: Float[Tensor, "*S"], *, base: float = 1.00001) -> Float[Tensor, "*S"]:
    """Factor of a wrong completion's advantage: 2 − b^(−ΔL), from 1 at no excess towards 2.

    With the published b, 100 tokens too many change the advantage by .1 %, and 4000 by 3.9 %.

    Where a loss is a mean over a completion's tokens, the push on a token is this over the length.
    It falls with length even so, unless b > e^(1/m) for right completions of m tokens.

    Args:
        excess: ΔL in tokens, at least 0 `[*S]`.
        base: b, at least 1; 1 for none.

    Returns:
        `[*S]`.

    Raises:
        ValueError: base is below 1.

    Source: Hong et al., "APO", arXiv:2506.21655, 2025, as their code has it.
    """
    if not base >= 1:
        raise ValueError(f"base is {base}; the base of the factor must be at least 1")
    return 1 - torch.expm1(-excess * math.log(base))
