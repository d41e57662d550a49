"""Decoding by values: targets of a value of unfinished completions, and the tilt that it gives."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@torch.no_grad()
def lambda_returns(
    score: Float[Tensor, "B N"],
    mask: Bool[Tensor, "B N T"],
    values: Float[Tensor, "B N T+1"],
    *,
    lam: float,
) -> Float[Tensor, "B N T+1"]:
    """TD(λ) targets of the value of what is written so far, for a score paid at the end.

    G_t = λ·G_{t+1} + (1 − λ)·V_{t+1},  G = score before the last decision and after it

    It is GAE's A + V at γ = 1, with an entry more: after the end the value is the score itself.

    Args:
        score: Of whole completions `[B, N]`.
        mask: The policy's own decisions `[B, N, T]`; given tokens between two of them take no time.
        values: V before each decision `[B, N, T+1]`; what stands after the last one is not read.
        lam: λ from 0, where each value learns from the next one, to 1, where all learn the score.

    Returns:
        `[B, N, T+1]`, entry t before decision t; before a given token that of what follows it.

    Source: Han et al., arXiv:2405.06639, 2024, as in the released code.
    """
    after = score.to(values.dtype)
    following = after
    out = torch.empty_like(values)
    out[..., -1] = after
    for t in reversed(range(mask.shape[2])):
        here = mask[..., t]
        after = torch.where(here, lam * after + (1 - lam) * following, after)
        following = torch.where(here, values[..., t], following)
        out[..., t] = after
    return out


def value_tilted(
    logp: Float[Tensor, "*S V"],
    values: Float[Tensor, "*S K"],
    index: Int[Tensor, "*S K"],
    *,
    strength: float,
    cut: bool = False,
) -> Float[Tensor, "*S V"]:
    """Log-probabilities of the next token, tilted by the values of what K of them lead to.

    log π(v) = log π₀(v) + strength·(V(s,v) − mean of the K values) − log Z

    Args:
        logp: log π₀ of the next token `[*S, V]`.
        values: V after each of K tokens `[*S, K]`, in units of reward.
        index: These tokens, all different `[*S, K]`.
        strength: The paper's β, in nats per unit of reward; 0 leaves π₀.
        cut: Give the other tokens no probability. By default they are left as they are, as if
            their values were the mean of the K: a common constant in the values then has no effect,
            and at K = V it is no matter what the mean is.

    Returns:
        `[*S, V]`.

    Source: Han et al., arXiv:2405.06639, 2024; the mean and the other tokens as in the released
        code.
    """
    raised = strength * (values - values.mean(-1, keepdim=True))
    kept = logp.gather(-1, index) + raised.to(logp.dtype)
    base = torch.full_like(logp, -torch.inf) if cut else logp
    return base.scatter(-1, index, kept).log_softmax(-1)
