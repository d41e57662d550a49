"""Floors under some objectives while another is raised: barriers of interior points."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def floors_under(start: Float[Tensor, "M"], *, beta: float) -> Float[Tensor, "M"]:
    """What each objective is to keep: start − (1 − β)·|start|, where start is above 0 β·start.

    Where start is below 0, β·start lies above it, and nothing could be kept.

    Args:
        start: The objectives of the policy that is extended.
        beta: Share β that is kept.

    Source: Liu et al., arXiv:2410.02236, 2024, with β·start.
    """
    return start - (1 - beta) * start.abs()


def barrier_weights(
    returns: Float[Tensor, "M"],
    floors: Float[Tensor, "M"],
    *,
    objective: int,
    t: float,
    least: float = 1e-3,
) -> Float[Tensor, "M"]:
    """What the gradient of each objective counts for in that of the log barrier over the others.

    ∇ (1/t)·mean_{j≠k} log(J_j − floor_j) = Σ_{j≠k} ∇J_j / (t·(M−1)·(J_j − floor_j))

    Args:
        returns: J, mean rewards of the policy.
        floors: What they are to stay above.
        objective: k, which has no floor and weight 0.
        t: Sharpness of the barrier; the larger, the nearer to the floor a policy may come.
        least: Room above a floor counts as at least so much, so that an objective below its floor
            is pulled up by 1/(t·(M−1)·least).

    Returns:
        `[M]`, never negative.

    Source: Liu et al., "IPO: Interior-Point Policy Optimization under Constraints",
        arXiv:1910.09615, 2020; as used by Liu et al., arXiv:2410.02236, 2024.
    """
    others = torch.arange(len(returns), device=returns.device) != objective
    room = (returns - floors).clamp(min=least)
    weight = 1 / (t * max(len(returns) - 1, 1) * room)
    return torch.where(others, weight, weight.new_zeros(()))


def ratio_barrier(
    ratio: Float[Tensor, "*S"],
    returns: Float[Tensor, "M"],
    *,
    objective: int,
    beta: float,
    t: float,
    least: float = 1e-3,
) -> Float[Tensor, "*S"]:
    """The released code's barrier, a loss of each decision by itself.

    −(1/t)·mean_{j≠k} log max(ρ·J_j − β·J_j, least)

    Where J_j is above 0 its gradient in ρ is −1/(t·(ρ − β)), whatever the objectives and whatever a
    completion was paid: it raises every decision that was sampled, which at ρ = 1 has expectation
    0. It is no constraint; `barrier_weights` is the one that the paper describes.

    Args:
        ratio: ρ = π/π_old, clipped.
        returns: J, mean rewards of the batch.
        objective: k.
        beta: Share β.
        t: Sharpness of the barrier.
        least: Least argument of the logarithm; nothing is learned below it.

    Source: released code of Liu et al., arXiv:2410.02236, 2024, which means to leave objective k
        out and leaves out a decision instead.
    """
    others = returns[torch.arange(len(returns), device=returns.device) != objective]
    room = ((ratio[..., None] - beta) * others.to(ratio)).clamp(min=least)
    return -room.log().mean(-1) / t
