"""Lp-Reg: which unlikely tokens of bad completions are held, and by what.

A token that is unlikely and yet plausible may be the start of another way to think. Of bad
completions such tokens are pushed down wherever they stand, until none is left to be sampled.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.formulas.divergence import k3
from assay.formulas.surrogate import ratio


def plausible(logprobs: Float[Tensor, "*S V"], *, threshold: float = 0.02) -> Float[Tensor, "*S V"]:
    """The proxy distribution: the choices with π ≥ κ·max π, renormalised.

    Args:
        logprobs: log π, normalised `[*S, V]`.
        threshold: κ, from 0 (all choices) to 1 (the likeliest alone).

    Returns:
        log π_proxy `[*S, V]`, −∞ for what is left out.

    Raises:
        ValueError: threshold is not from 0 to 1.

    Source: Huang et al., "Low-probability Tokens Sustain Exploration in Reinforcement Learning with
        Verifiable Reward", arXiv:2510.03222, 2025.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it is a share of the likeliest, from 0 to 1")
    least = logprobs.exp().amax(-1, keepdim=True) * threshold
    return logprobs.masked_fill(logprobs.exp() < least, -torch.inf).log_softmax(-1)


@torch.no_grad()
def unlikely(
    logp: Float[Tensor, "B N T"],
    among: Bool[Tensor, "B N T"],
    *,
    share: float = 0.01,
    of: Bool[Tensor, "B N T"] | None = None,
) -> Bool[Tensor, "B N T"]:
    """The share of least probability among some tokens; none where the share is less than two.

    Args:
        logp: log π `[B, N, T]`.
        among: The tokens that can be picked `[B, N, T]`, such as those of negative advantage.
        share: From 0 to 1; the ⌊share·count⌋ least likely are picked.
        of: The tokens whose share it is `[B, N, T]`, of which those in `among` are picked; None for
            `among` itself. The paper's percentile is that of all tokens of the batch, the released
            code's that of the tokens of negative advantage.

    Returns:
        `[B, N, T]`, True where a token is picked.

    Raises:
        ValueError: share is not from 0 to 1.

    Source: Huang et al., arXiv:2510.03222, 2025, eq. 6; the least of two is their released code's.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it is a share of tokens, from 0 to 1")
    whole = among if of is None else of
    count = int(share * int(whole.sum()))
    return least(logp, whole, count=count if count > 1 else 0) & among


@torch.no_grad()
def least(
    key: Float[Tensor, "B N T"], among: Bool[Tensor, "B N T"], *, count: int
) -> Bool[Tensor, "B N T"]:
    """Some tokens of the least keys; by random keys, as many tokens anywhere.

    Args:
        key: What is compared `[B, N, T]`.
        among: The tokens that can be picked `[B, N, T]`.
        count: How many are picked; all of `among` where it has fewer.

    Returns:
        `[B, N, T]`, True where a token is picked.
    """
    picked = torch.zeros_like(among).flatten()
    order = torch.where(among, key, torch.inf).flatten().argsort(stable=True)
    picked[order[: min(count, int(among.sum()))]] = True
    return picked.reshape(among.shape)


def shielded(
    logp: Float[Tensor, "B N T"],
    old_logp: Float[Tensor, "B N T"],
    advantage: Float[Tensor, "B N #T"],
    proxy_logp: Float[Tensor, "B N T"],
    *,
    beta: float = 1.0,
) -> Float[Tensor, "B N T"]:
    """Lp-Reg's loss of a picked token: −A·ρ + β·(π_proxy/π − 1 − log(π_proxy/π)).

    The second term pulls π up to the proxy: its derivative by log π is 1 − π_proxy/π, below 0 where
    π < π_proxy. The ratio is not clipped.

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log π_old `[B, N, T]`.
        advantage: A `[B, N, T]` or `[B, N, 1]`.
        proxy_logp: log π_proxy of the tokens, finite `[B, N, T]`.
        beta: β, at least 0.

    Returns:
        `[B, N, T]`.

    Raises:
        ValueError: beta is negative, or old_logp is NaN.

    Source: Huang et al., arXiv:2510.03222, 2025.
    """
    if not beta >= 0:
        raise ValueError(f"beta is {beta}; the weight of the penalty must be at least 0")
    return -advantage.detach() * ratio(logp, old_logp) + beta * k3(logp, proxy_logp.detach())
