"""Supervised fine-tuning read as learning an implicit reward, and its kin by f-divergences.

Imitation of experts by rewards is

    min_π max_r E_E[r] − (E_π[r] − β·KL(π‖π₀))

The policy that is best for r has r = β·log π/π₀ + V(s) − V(s′), where V telescopes along a
completion. With that reward put back the KL term is a constant of π, and −β·E_E log π remains: SFT.
Where the distance between experts and policy is another f-divergence, the loss is E_E[f*(−u)],
u = β·Σ log π/π₀, with the convex conjugate f*(s) = sup_t (s·t − f(t)); it depends on π₀.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def implicit_reward(
    logp: Float[Tensor, "*S T"], ref_logp: Float[Tensor, "*S T"], *, beta: float
) -> Float[Tensor, "*S"]:
    """Reward of a completion that its policy implies: u = β·Σ_t (log π − log π₀).

    Up to V of the prompt, which is the same for all of its completions.

    Args:
        logp: log π of each token, 0 at padding `[*S, T]`.
        ref_logp: log π₀, 0 at padding `[*S, T]`.
        beta: β.

    Returns:
        `[*S]`, in units of β nats; the same as in DPO.

    Source: Wang et al., "Implicit Reward as the Bridge", arXiv:2507.00018, 2025.
    """
    return beta * (logp - ref_logp).sum(-1)


def token_rewards(
    logp: Float[Tensor, "*S T"],
    ref_logp: Float[Tensor, "*S T"],
    value: Float[Tensor, "*S T1"],
    *,
    beta: float,
) -> Float[Tensor, "*S T"]:
    """Reward of each token: r_t = β·(log π − log π₀) + V(s_t) − V(s_{t+1}).

    Their sum is the implicit reward plus V of the prompt minus V of the end.

    Args:
        logp: log π of each token `[*S, T]`.
        ref_logp: log π₀ `[*S, T]`.
        value: V before each token and after the last `[*S, T+1]`.
        beta: β.

    Returns:
        `[*S, T]`.

    Source: Wang et al., arXiv:2507.00018, 2025; Rafailov et al., "From r to Q*",
        arXiv:2404.12358, 2024.
    """
    return beta * (logp - ref_logp) + value[..., :-1] - value[..., 1:]


def soft_value(logits: Float[Tensor, "*S V"], *, beta: float) -> Float[Tensor, "*S"]:
    """V(s) = β·log Σ_v exp(Q(s,v)/β) of Q = β·logits: then β·log π = Q − V.

    Logits are Q up to a number for each state, which cancels in π and shifts V.

    Args:
        logits: A language model's `[*S, V]`.
        beta: β.

    Returns:
        `[*S]`.

    Source: Wang et al., arXiv:2507.00018, 2025.
    """
    return beta * logits.logsumexp(-1)


def _linear(u: Tensor) -> Tensor:
    return -u


def _pearson(u: Tensor) -> Tensor:
    return -u + u.square() / 4


def _squared_hellinger(u: Tensor) -> Tensor:
    inside = u > -1
    safe = torch.where(inside, u, torch.zeros_like(u))
    return torch.where(inside, -safe / (1 + safe), torch.full_like(u, torch.inf))


def _kl(u: Tensor) -> Tensor:
    return torch.exp(-u - 1)


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": _linear,
    "pearson": _pearson,
    "squared_hellinger": _squared_hellinger,
    "kl": _kl,
}


def imitation(u: Float[Tensor, "*S"], *, divergence: str) -> Float[Tensor, "*S"]:
    """Loss of a demonstration with implicit reward u: f*(−u).

        linear              −u             SFT, β times its gradient (total variation's f*)
        pearson             −u + u²/4      f = (t−1)²; least at u = 2, beyond which it pushes down
        squared_hellinger   −u/(1+u)       f = (√t−1)²; +inf where u ≤ −1
        kl                  e^(−u−1)       f = t·log t; its pull fades as e^−u

    All but the first are convex in u with slope −1 at u = 0 (kl: −1/e): their first step is SFT's,
    and what is imitated already is pulled less. The KL of the other direction, f = −log t, has the
    loss −1 − log u, infinite at u = 0 where training begins, and is left out.

    Args:
        u: Implicit rewards of demonstrations `[*S]`.
        divergence: linear, pearson, squared_hellinger or kl.

    Returns:
        `[*S]`.

    Raises:
        ValueError: divergence is none of these.

    Source: Wang et al., arXiv:2507.00018, 2025. The forms are derived here from f* and tested
        against its definition; the paper's own table was not at hand.
    """
    if divergence not in LOSSES:
        raise ValueError(f"divergence is '{divergence}'; it is one of {', '.join(LOSSES)}")
    return LOSSES[divergence](u)
