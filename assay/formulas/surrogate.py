"""Policy-gradient and critic losses, one term a decision `[B,N,T]`, never reduced.

At logp = old_logp the gradient of every policy-gradient surrogate by logp is −A. No gradient passes
into the advantage.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# a log-ratio is held within ±40: e^40 and its products are numbers in float32; no honest ratio is
# near it
FAR = 40.0


def ratio(logp: Float[Tensor, "*S"], old_logp: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """ρ = π/π_old = exp(logp − old_logp), differentiable in logp; held, with gradient 0, outside
    e^±40.

    NaN in old_logp means that nobody knows under what the answers were drawn (see Samples): a ratio
    refuses it. Behind the mask Samples hold 0.
    """
    if bool(torch.isnan(old_logp).any()):
        raise ValueError(
            f"old_logp is NaN in {int(torch.isnan(old_logp).sum())} of {old_logp.numel()} places: "
            "the probability these answers were drawn with is unknown, so there is no ratio; "
            "score them with the policy first"
        )
    return (logp - old_logp.detach()).clamp(-FAR, FAR).exp()


def reinforce(
    logp: Float[Tensor, "B N T"], advantage: Float[Tensor, "B N #T"]
) -> Float[Tensor, "B N T"]:
    """−A·logp (Williams 1992). Its gradient is the policy gradient only for answers of the present
    policy.
    """
    return -advantage.detach() * logp


def clipped(
    logp: Float[Tensor, "B N T"],
    old_logp: Float[Tensor, "B N T"],
    advantage: Float[Tensor, "B N #T"],
    *,
    low: float = 0.2,
    high: float = 0.2,
) -> Float[Tensor, "B N T"]:
    """max(−Aρ, −A·clip(ρ, 1−low, 1+high)) (PPO, Schulman et al. 2017; unequal low and high: DAPO,
    Yu et al. 2025).

    With one update a batch ρ ≡ 1 and the clip never acts.
    """
    if not (0 <= low <= 1 and high >= 0):
        raise ValueError(
            f"low is {low} and high {high}: the ratio is clipped to [1−low, 1+high], 0 ≤ low ≤ 1 "
            "and high ≥ 0"
        )
    rho, a = ratio(logp, old_logp), advantage.detach()
    return torch.maximum(-a * rho, -a * rho.clamp(1 - low, 1 + high))


def value_clipped(
    values: Float[Tensor, "B N T"],
    old_values: Float[Tensor, "B N T"],
    returns: Float[Tensor, "B N T"],
    *,
    clip: float = 0.2,
) -> Float[Tensor, "B N T"]:
    """½·max((V−G)², (clip(V, V_old ± clip)−G)²), G the returns (PPO's critic). Differentiable in V
    alone.
    """
    old, target = old_values.detach(), returns.detach()
    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - target).square(), (near - target).square())
