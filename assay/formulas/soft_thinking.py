"""Soft thoughts: mixtures of tokens by Gumbel noise, and the density of the noise that mixed them.

A thought keeps K tokens with probabilities p. With g_i ~ Gumbel(0, 1),

    G_i = log p_i + g_i,    e = Σ softmax(G/τ)_i · E_i,    argmax G ~ p

e is read where a token's embedding would be. A policy that gives the kept tokens probabilities p'
draws the same G with the density Π_i f(G_i − log p'_i), f(u) = exp(−u − e^{−u}).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

FORMS = ("surrogate", "joint")
# u of noise that was clipped when it was drawn lies at the very end of the range, on either side of
# it by rounding: it is clipped
_ROUNDING = 1e-4


def soft_mixture(
    noisy: Float[Tensor, "*S K"], embeddings: Float[Tensor, "*S K W"], *, temperature: float = 0.1
) -> Float[Tensor, "*S W"]:
    """The input of a soft thought: Σ softmax(G/τ)_i · E_i. Towards τ = 0 it is the largest's alone.

    Args:
        noisy: G `[*S, K]`, −∞ where a slot holds no token.
        embeddings: E of the kept tokens `[*S, K, W]`.
        temperature: τ, above 0.

    Returns:
        `[*S, W]`; no gradient flows into it, as in the released code.

    Raises:
        ValueError: temperature is not above 0.

    Source: Zheng et al., "SofT-GRPO: Surpassing Discrete-Token LLM Reinforcement Learning via
        Gumbel-Reparameterized Soft-Thinking Policy Optimization", arXiv:2511.06411, 2025.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; that of a mixture is above 0")
    share = (noisy.detach() / temperature).softmax(-1)
    return (share[..., None] * embeddings.detach()).sum(-2)


def gumbel_logp(
    noisy: Float[Tensor, "*S K"],
    logp: Float[Tensor, "*S K"],
    *,
    form: str = "surrogate",
    low: float = -1.5,
    high: float = 3.0,
    least: float = -3.0,
) -> Float[Tensor, "*S"]:
    """Log-density of a soft thought's noise: of log f(u_i) = −u_i − e^{−u_i}, u_i = G_i − log p_i.

    joint: Σ_i log f(u_i), the density. Its derivative by log p_i is 1 − e^{−u_i}, of mean 0 and
    variance 1 under the policy that drew. surrogate, the released code's: the mean over the tokens
    with log p_i > `least`, with u_i clipped to [low, high]; no density, since it depends on p which
    tokens count and since its derivative is 0 where u_i is clipped.

    Args:
        noisy: G `[*S, K]`, −∞ where a slot holds no token.
        logp: log p of the kept tokens, renormalised `[*S, K]`.
        form: surrogate or joint.
        low: Least u of the surrogate.
        high: Largest u of the surrogate.
        least: The surrogate takes tokens above this log-probability; below −log K, so that there
            always is one.

    Returns:
        `[*S]`, differentiable in logp alone.

    Raises:
        ValueError: form is neither, or no token of some thought is above `least`.

    Source: as `soft_mixture`; the surrogate is that of the released code (github.com/zz1358m/
        SofT-GRPO-master, verl/utils/torch_functional.py).
    """
    if form not in FORMS:
        raise ValueError(f"form is '{form}'; it is one of {', '.join(FORMS)}")
    kept = noisy.detach() > -torch.inf
    zero = torch.zeros_like(noisy)
    u = torch.where(kept, noisy.detach(), zero) - torch.where(kept, logp, zero)
    if form == "joint":
        return torch.where(kept, -u - (-u).exp(), zero).sum(-1)
    counted = kept & (logp.detach() > least)
    if not bool(counted.any(-1).all()):
        raise ValueError(f"no token of some thought has a log-probability above {least}")
    inside = (u > low + _ROUNDING) & (u < high - _ROUNDING)
    u = torch.where(inside, u, u.detach().clamp(low, high))
    return torch.where(counted, -u - (-u).exp(), zero).sum(-1) / counted.sum(-1)
