"""Policy-gradient and critic losses, one term a decision `[B, N, T]`, never reduced.

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


def log_ratio(logp: Float[Tensor, "*S"], old_logp: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Logarithm of the importance ratio: log π − log π_old, held within ±40.

    Args:
        logp: log π `[*S]`.
        old_logp: log π_old `[*S]`, 0 where masked.

    Returns:
        `[*S]` in nats, differentiable in logp; held, with gradient 0, outside ±40.

    Raises:
        ValueError: old_logp is NaN somewhere: the policy that the completions came from is unknown.
    """
    if bool(torch.isnan(old_logp).any()):
        raise ValueError(
            f"old_logp is NaN in {int(torch.isnan(old_logp).sum())} of {old_logp.numel()} places: "
            "the policy that these completions came from is unknown, so there is no ratio; "
            "score them with the policy first"
        )
    return (logp - old_logp.detach()).clamp(-FAR, FAR)


def ratio(logp: Float[Tensor, "*S"], old_logp: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Importance ratio: ρ = π/π_old = exp(logp − old_logp).

    Args:
        logp: log π `[*S]`.
        old_logp: log π_old `[*S]`, 0 where masked.

    Returns:
        `[*S]`, differentiable in logp; held, with gradient 0, outside e^±40.

    Raises:
        ValueError: old_logp is NaN somewhere: the policy that the completions came from is unknown.
    """
    return log_ratio(logp, old_logp).exp()


def reinforce(
    logp: Float[Tensor, "B N T"], advantage: Float[Tensor, "B N #T"]
) -> Float[Tensor, "B N T"]:
    """REINFORCE: −A·log π. On its own completions the gradient is the policy gradient.

    Args:
        logp: log π `[B, N, T]`.
        advantage: A `[B, N, T]` or `[B, N, 1]`.

    Returns:
        `[B, N, T]`.

    Source: Williams, "Simple statistical gradient-following algorithms", 1992.
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
    """Clipped surrogate: max(−A·ρ, −A·clip(ρ, 1 − ε_low, 1 + ε_high)).

    With one update a batch, ρ = 1 and nothing is clipped.

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log π_old `[B, N, T]`.
        advantage: A `[B, N, T]` or `[B, N, 1]`.
        low: ε_low, from 0 to 1.
        high: ε_high, at least 0.

    Returns:
        `[B, N, T]`.

    Raises:
        ValueError: low or high is out of range.

    Source: Schulman et al., "Proximal Policy Optimization Algorithms", arXiv:1707.06347, 2017, eq.
        7; unequal bounds: Yu et al., "DAPO", arXiv:2503.14476, 2025.
    """
    if not (0 <= low <= 1 and high >= 0):
        raise ValueError(
            f"low is {low} and high {high}: the ratio is clipped to [1−low, 1+high], 0 ≤ low ≤ 1 "
            "and high ≥ 0"
        )
    rho, a = ratio(logp, old_logp), advantage.detach()
    return torch.maximum(-a * rho, -a * rho.clamp(1 - low, 1 + high))


def value_clipped(
    values: Float[Tensor, "*S"],
    old_values: Float[Tensor, "*S"],
    returns: Float[Tensor, "*S"],
    *,
    clip: float = 0.2,
) -> Float[Tensor, "*S"]:
    """Clipped value loss: ½·max((V − G)², (clip(V, V_old ± clip) − G)²).

    Args:
        values: V `[*S]`, such as `[B, N, T]`, or `[B, N, T, K]` of K critics.
        old_values: V_old `[*S]`.
        returns: G `[*S]`.
        clip: Largest change of V.

    Returns:
        `[*S]`, differentiable in V alone.
    """
    old, target = old_values.detach(), returns.detach()
    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - target).square(), (near - target).square())
