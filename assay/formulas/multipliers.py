"""Squashed Lagrange multipliers: how they weigh advantages, and their dual steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def weights(
    u: Float[Tensor, "K"],
    v: Float[Tensor, "N"],
    theta: Float[Tensor, "N"],
    *,
    mode: str,
    weight: float,
) -> tuple[Float[Tensor, "N"], float]:
    """Return the weights of N components and of the KL head.

    Args:
        u: Raw multipliers.
        v: Values of the components.
        theta: Their points, in mode fixed their weights.
        mode: mu: s = sigmoid(u). xi: s = tanh(u). all: as mu, the KL's from the last of u. sat:
            `weight` where v < θ, else 0. fixed: s = θ. stop: s = `weight`.
        weight: Of a component where weights are static.

    Returns:
        s, and the weight of the KL head, N − Σs where it has no multiplier of its own.
    """
    N = len(v)
    if mode == "xi":
        s = torch.tanh(u[:N])
    elif mode in ("mu", "all"):
        s = torch.sigmoid(u[:N])
    elif mode == "fixed":
        s = theta.clamp(0, 1)
    else:
        s = torch.full_like(theta, weight) if mode == "stop" else weight * (v < theta).to(theta)
        return s, N * (1 - weight)
    return s, float(torch.sigmoid(u[N])) if mode == "all" else float(N - s.sum())


def scheduled(values: Sequence[float], *, at: float, N: int) -> tuple[Float[Tensor, "N"], float]:
    """Return weights that follow a schedule and nothing that is measured.

    Args:
        values: Weight of every component at equally spaced times from 0 to 1, linear between.
        at: The time.
        N: Components.

    Returns:
        s, and the weight N − Σs of the KL head.
    """
    place = at * (len(values) - 1)
    i = min(int(place), max(0, len(values) - 2))
    low, high = values[i], values[min(i + 1, len(values) - 1)]
    s = torch.full((N,), low + (place - i) * (high - low), dtype=torch.float64)
    return s, float(N - s.sum())


def stepped(
    u: Float[Tensor, "K"],
    velocity: Float[Tensor, "K"],
    over: Float[Tensor, "K"],
    *,
    mode: str,
    rate: float,
    limit: float = 0.0,
) -> tuple[Float[Tensor, "K"], Float[Tensor, "K"]]:
    """Take one dual step: a multiplier rises where its constraint is not met.

    Args:
        u: Raw multipliers.
        velocity: Momentum (.1) of the step before.
        over: How far each constraint is exceeded; negative where it is not met.
        mode: mu, xi or all.
        rate: Learning rate.
        limit: Largest |u|; 0 for none. Where u has run far, s'(u) is nearly 0 and a constraint that
            is exceeded cannot bring the multiplier back.

    Returns:
        u and the velocity.
    """
    slope = 1 - torch.tanh(u).square() if mode == "xi" else torch.sigmoid(u) * torch.sigmoid(-u)
    velocity = 0.1 * velocity + slope * over
    u = u - rate * velocity
    return (u.clamp(-limit, limit) if limit else u), velocity
