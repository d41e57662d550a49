"""From logits to a policy's distribution, and from a uniform number to a draw."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def truncated(
    logits: Float[Tensor, "*n V"], *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Float[Tensor, "*n V"]:
    """Compute log softmax(logits / temperature), truncated and renormalised.

    Equal logits are cut in the order of their ids.

    Args:
        logits: Unnormalised log-probabilities, `[*n,V]`; they may hold −∞ (a barred token).
        temperature: Divisor of the logits, above 0.
        top_k: Keep so many of the likeliest tokens; 0 for all.
        top_p: Then keep the smallest set whose probability reaches this; 1 for all.

    Returns:
        Log-probabilities, `[*n,V]`; what is cut off has −∞.

    Source: Holtzman et al., 2020 (top_p).
    """
    x = logits if temperature == 1.0 else logits / temperature
    if 0 < top_k < x.shape[-1] or top_p < 1.0:
        order = x.detach().argsort(dim=-1, descending=True, stable=True)
        out = torch.zeros_like(x, dtype=torch.bool)
        if 0 < top_k < x.shape[-1]:
            out.scatter_(-1, order[..., top_k:], True)
        if top_p < 1.0:
            p = x.detach().masked_fill(out, -torch.inf).softmax(-1).gather(-1, order)
            before = p.cumsum(-1) - p
            out |= torch.zeros_like(out).scatter_(-1, order, (before >= top_p) & (before > 0))
        x = x.masked_fill(out, -torch.inf)
    return x.log_softmax(-1)


def inverse_cdf(logp: Float[Tensor, "*n V"], u: Float[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Return the first id whose cumulative probability exceeds a uniform number in (0,1).

    Never an id of probability 0; the cumulative sum is in float64, and u is scaled by its total.
    """
    cdf = logp.exp().cumsum(-1, dtype=torch.float64)
    return (
        torch.searchsorted(cdf, (u.double() * cdf[..., -1])[..., None], right=True)
        .squeeze(-1)
        .clamp(max=logp.shape[-1] - 1)
    )
