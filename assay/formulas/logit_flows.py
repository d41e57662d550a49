"""How fast gradient descent moves mass on a categorical distribution, by what it descends.

    forward KL(q‖p)    ż_a = q_a − p_a                          maximum likelihood on samples of q
    reverse KL(p‖q)    ż_a = p_a·(log(q_a/p_a) + KL(p‖q))       reinforcement learning towards q

z are logits and p = softmax(z). The forward flow is bounded by 1 and pulls up every arm that q has
(mode covering). The reverse flow is weighted by p: it cannot see an arm that is never sampled, and
takes mass away from what is sampled and bad, which is a negative gradient (mode seeking).

Source: Tajwar et al., "Preference Fine-Tuning of LLMs Should Leverage Suboptimal, On-Policy Data",
    arXiv:2404.14367, 2024.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def forward_kl_flow(
    logits: Float[Tensor, "*S V"], target: Float[Tensor, "*S V"]
) -> Float[Tensor, "*S V"]:
    """Minus the gradient of KL(q‖p) in the logits of p: q_a − p_a.

    Args:
        logits: z `[*S, V]`.
        target: q, summing to 1 `[*S, V]`.

    Returns:
        `[*S, V]`, summing to 0.
    """
    return target - logits.softmax(-1)


def reverse_kl_flow(
    logits: Float[Tensor, "*S V"], target: Float[Tensor, "*S V"]
) -> Float[Tensor, "*S V"]:
    """Minus the gradient of KL(p‖q) in the logits of p: p_a·(log(q_a/p_a) + KL(p‖q)).

    With q ∝ π₀·e^(r/β) it is the exact policy gradient of r − β·log(p/π₀), over β.

    Args:
        logits: z `[*S, V]`.
        target: q, summing to 1 `[*S, V]`; above 0 where p is.

    Returns:
        `[*S, V]`, summing to 0; not finite where q is 0 and p is not.
    """
    logp = logits.log_softmax(-1)
    apart = logp - target.log()
    p = logp.exp()
    kl = torch.where(p > 0, p * apart, p.new_zeros(())).sum(-1, keepdim=True)
    return torch.where(p > 0, p * (kl - apart), p.new_zeros(()))


def squashed_cauchy(*, bins: int, loc: float, scale: float) -> Float[Tensor, "bins"]:
    """Chances of equal bins of (−1, 1) under tanh of a Cauchy variable.

    P(bin) = F(atanh b) − F(atanh a),  F(x) = ½ + arctan((x − loc)/scale)/π

    Args:
        bins: Bins.
        loc: Of the Cauchy variable, before tanh.
        scale: Of the Cauchy variable; above 0.

    Returns:
        `[bins]` in float64, summing to 1.

    Raises:
        ValueError: scale is not above 0.
    """
    if not scale > 0:
        raise ValueError(f"scale is {scale}; a Cauchy distribution needs it above 0")
    edges = torch.linspace(-1, 1, bins + 1, dtype=torch.float64).atanh()  # the ends are ±inf
    return (((edges - loc) / scale).atan() / torch.pi).diff()
