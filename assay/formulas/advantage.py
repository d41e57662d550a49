"""Advantages from outcomes `[B, N]` and from steps `[B, N, T]`. No gradient passes through them.

Absent completions and masked steps count in no baseline and no standard deviation, whatever their
values, and get 0. Completions that cannot be scored are left out by marking them absent.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def _above_least(x: Tensor, where: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """x − (least of x where `where`), 0 elsewhere. Equal values give exact zeros, and means of it
    lose no digits.
    """
    least = torch.where(where, x, torch.inf).amin(dim, keepdim=True)
    return torch.where(where, x - least, x.new_zeros(()))


def _deviation(d: Tensor, where: Tensor, dim: int | tuple[int, ...], ddof: int) -> Tensor:
    """Standard deviation of already centred d, 0 where there are not more than ddof values. Scaled:
    1e30² is no number.
    """
    scale = d.abs().amax(dim, keepdim=True)
    unit = torch.where(
        scale > 0, d / torch.where(scale > 0, scale, torch.ones_like(scale)), d.new_zeros(())
    )
    free = where.sum(dim, keepdim=True) - ddof
    return torch.where(
        free > 0,
        scale * (unit.square().sum(dim, keepdim=True) / free.clamp(min=1)).sqrt(),
        d.new_zeros(()),
    )


@torch.no_grad()
def group_centred(
    reward: Float[Tensor, "B N"], present: Bool[Tensor, "B N"]
) -> Float[Tensor, "B N"]:
    """Reward minus the mean of the prompt's completions, itself included.

    Aᵢ = rᵢ − (1/K)·Σⱼ rⱼ

    The baseline includes rᵢ, so that the expected gradient is (K−1)/K of the true one for K
    completions.

    Args:
        reward: `[B, N]`.
        present: Which completions count `[B, N]`.

    Returns:
        Advantages `[B, N]`, 0 for absent completions.

    Source: Liu et al., "Understanding R1-Zero-Like Training" (Dr. GRPO), arXiv:2503.20783, 2025.
    """
    d = _above_least(reward, present, -1)
    centre = d.sum(-1, keepdim=True) / present.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(present, d - centre, d.new_zeros(()))


@torch.no_grad()
def leave_one_out(
    reward: Float[Tensor, "B N"], present: Bool[Tensor, "B N"]
) -> Float[Tensor, "B N"]:
    """Reward minus the mean of the prompt's other completions; unbiased.

    Aᵢ = rᵢ − (1/(K−1))·Σ_{j≠i} rⱼ = K/(K−1)·(rᵢ − r̄)

    Args:
        reward: `[B, N]`, N at least 2.
        present: Which completions count `[B, N]`.

    Returns:
        Advantages `[B, N]`; 0 for absent completions and for a prompt's only one.

    Raises:
        ValueError: N is 1.

    Source: Kool et al., "Buy 4 REINFORCE Samples, Get a Baseline for Free!", 2019; Ahmadian et al.,
        "Back to Basics" (RLOO), arXiv:2402.14740, 2024.
    """
    if reward.shape[1] < 2:
        raise ValueError(
            "leave-one-out needs at least two completions a prompt, and N is 1; sample more, or "
            "use another baseline"
        )
    d = _above_least(reward, present, -1)
    others = present.sum(-1, keepdim=True) - 1
    baseline = (d.sum(-1, keepdim=True) - d) / others.clamp(min=1)
    return torch.where(present & (others > 0), d - baseline, d.new_zeros(()))


@torch.no_grad()
def group_standardised(
    reward: Float[Tensor, "B N"], present: Bool[Tensor, "B N"], *, eps: float = 1e-4, ddof: int = 1
) -> Float[Tensor, "B N"]:
    """Reward minus the prompt's mean, divided by the prompt's standard deviation.

    Aᵢ = (rᵢ − r̄)/(s + eps)

    Without eps, any affine change of the reward leaves it unchanged. For graded rewards it is no
    rescaled gradient of E[r]: prompts and arms get other weights.

    Args:
        reward: `[B, N]`.
        present: Which completions count `[B, N]`.
        eps: Added to the standard deviation.
        ddof: s divides by K − ddof. Published code mostly has 1; 0 differs by a factor √(8/7) at K
            = 8.

    Returns:
        Advantages `[B, N]`; 0 for a group of equal rewards, or of at most ddof completions.

    Source: Shao et al., "DeepSeekMath" (GRPO), arXiv:2402.03300, 2024.
    """
    d = group_centred(reward, present)
    s = _deviation(d, present, -1, ddof)
    return torch.where(
        present & (s > 0), d / torch.where(s > 0, s + eps, torch.ones_like(s)), d.new_zeros(())
    )


@torch.no_grad()
def returns_to_go(
    rewards: Float[Tensor, "B N T"], mask: Bool[Tensor, "B N T"], *, gamma: float = 1.0
) -> Float[Tensor, "B N T"]:
    """Discounted sum of the rewards from each decision on.

    G_t = r_t + γ·G_{t+1}

    Args:
        rewards: `[B, N, T]`.
        mask: The policy's own decisions `[B, N, T]`; given steps between two decisions take no
            time.
        gamma: Discount γ.

    Returns:
        `[B, N, T]`, 0 where masked.
    """
    out, after = torch.zeros_like(rewards), rewards.new_zeros(rewards.shape[:2])
    for t in reversed(range(rewards.shape[2])):
        after = torch.where(mask[..., t], rewards[..., t] + gamma * after, after)
        out[..., t] = torch.where(mask[..., t], after, out[..., t])
    return out


@torch.no_grad()
def gae(
    rewards: Float[Tensor, "B N T"],
    values: Float[Tensor, "B N T+1"],
    mask: Bool[Tensor, "B N T"],
    *,
    gamma: float = 1.0,
    lam: float = 0.95,
) -> Float[Tensor, "B N T"]:
    """Generalised advantage estimation over a completion's own decisions.

    A_t = Σ_k (γλ)^k·δ_{t+k},  δ_t = r_t + γ·V_{t+1} − V_t

    At λ = 1 it is returns_to_go − V; the critic's target is A + V.

    Args:
        rewards: `[B, N, T]`.
        values: `[B, N, T+1]`; entry t is the value before decision t. The value after the last
            decision counts as 0, whether the completion ended or was cut, so that entry T is not
            read.
        mask: The policy's own decisions `[B, N, T]`.
        gamma: Discount γ.
        lam: λ.

    Returns:
        `[B, N, T]`, 0 where masked.

    Source: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage
        Estimation", arXiv:1506.02438, 2015.
    """
    out = torch.zeros_like(rewards)
    after, next_value = rewards.new_zeros(rewards.shape[:2]), rewards.new_zeros(rewards.shape[:2])
    for t in reversed(range(rewards.shape[2])):
        here, value = mask[..., t], values[..., t].to(rewards.dtype)
        after = torch.where(
            here, rewards[..., t] + gamma * next_value - value + gamma * lam * after, after
        )
        next_value = torch.where(here, value, next_value)
        out[..., t] = torch.where(here, after, out[..., t])
    return out


@torch.no_grad()
def whiten(x: Float[Tensor, "*S"], mask: Bool[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Subtract the mean and divide by the standard deviation (÷ count), over all unmasked entries.

    For advantages it turns an affine change of the reward into a change of the KL weight.

    Args:
        x: Any shape.
        mask: Which entries count.

    Returns:
        The shape of x; 0 where masked, and everywhere if x is constant.
    """
    dims = tuple(range(x.dim()))
    d = _above_least(x, mask, dims)
    d = torch.where(mask, d - d.sum(dims, keepdim=True) / mask.sum().clamp(min=1), d.new_zeros(()))
    s = _deviation(d, mask, dims, 0)
    return torch.where(s > 0, d / torch.where(s > 0, s, torch.ones_like(s)), d.new_zeros(()))


@torch.no_grad()
def decoupled(
    rewards: Float[Tensor, "M B N"],
    present: Bool[Tensor, "B N"],
    *,
    weights: tuple[float, ...] = (),
    eps: float = 1e-4,
    ddof: int = 1,
) -> Float[Tensor, "B N"]:
    """Sum of several rewards, each standardised in the prompt's group by itself: Σ_k w_k·A^(k).

    Standardising the sum instead lets completions of different rewards have one advantage, and the
    reward of the larger deviation decides. Here no reward's unit matters, the weights alone.
    An objective that does not apply to a completion adds nothing to it, and takes no part in the
    mean and the deviation of the others. GDPO whitens the result over the batch.

    Args:
        rewards: Of M objectives `[M, B, N]`; NaN where one does not apply.
        present: Which completions count `[B, N]`.
        weights: w, one an objective; none for 1 each.
        eps: Added to each standard deviation.
        ddof: Deviations divide by K − ddof.

    Returns:
        `[B, N]`, 0 for absent completions.

    Raises:
        ValueError: There are not as many weights as objectives.

    Source: Liu et al., "GDPO", arXiv:2601.05242, 2026.
    """
    w = weights or (1.0,) * len(rewards)
    if len(w) != len(rewards):
        raise ValueError(f"there are {len(w)} weights and {len(rewards)} rewards; give one each")
    each = []
    for c, r in zip(w, rewards, strict=True):
        applies = present & ~torch.isnan(r)
        known = torch.where(applies, r, r.new_zeros(()))
        each.append(c * group_standardised(known, applies, eps=eps, ddof=ddof))
    return torch.stack(each).sum(0)
