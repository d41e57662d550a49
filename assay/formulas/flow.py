"""Rectified flows: what a velocity says of data and noise, and steps with the flow's marginals.

Time t is 0 at data and 1 at noise: x_t = (1 − t)·x₀ + t·ε, and the velocity is that of ε − x₀. A
sampler goes from 1 to 0, so that a step from t to t' has t' − t < 0.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def interpolated(
    data: Float[Tensor, "*S D"], noise: Float[Tensor, "*S D"], t: Float[Tensor, "*#S"]
) -> Float[Tensor, "*S D"]:
    """Point of the straight path: x_t = (1 − t)·x₀ + t·ε.

    Args:
        data: x₀ `[*S, D]`.
        noise: ε `[*S, D]`.
        t: Time, from 0 (data) to 1 (noise) `[*S]`.

    Returns:
        `[*S, D]`.

    Source: Liu et al., "Flow Straight and Fast", arXiv:2209.03003, 2022.
    """
    return (1 - t)[..., None] * data + t[..., None] * noise


def denoised(
    x: Float[Tensor, "*S D"], velocity: Float[Tensor, "*S D"], t: Float[Tensor, "*#S"]
) -> Float[Tensor, "*S D"]:
    """Expected data given x_t: x̂₀ = x − t·v.

    Args:
        x: x_t `[*S, D]`.
        velocity: v(x_t, t) `[*S, D]`.
        t: Time `[*S]`.

    Returns:
        `[*S, D]`.

    Source: as `interpolated`.
    """
    return x - t[..., None] * velocity


def flow_score(
    x: Float[Tensor, "*S D"], velocity: Float[Tensor, "*S D"], t: Float[Tensor, "*#S"]
) -> Float[Tensor, "*S D"]:
    """Gradient of log p_t at x: −ε̂/t, with ε̂ = x + (1 − t)·v the expected noise.

    Args:
        x: x_t `[*S, D]`.
        velocity: v(x_t, t) `[*S, D]`.
        t: Time, above 0 `[*S]`.

    Returns:
        `[*S, D]`.

    Source: Albergo et al., "Stochastic Interpolants", arXiv:2303.08797, 2023.
    """
    return -(x + (1 - t)[..., None] * velocity) / t[..., None]


def flow_times(*, steps: int, shift: float = 1.0) -> Float[Tensor, "T1"]:
    """Times of a sampler's steps from 1 to 0: t_k = s·u/(1 + (s − 1)·u), u = 1 − k/T.

    Args:
        steps: T, at least 1.
        shift: s, above 0; above 1, more of the steps are near the noise.

    Returns:
        `[T + 1]`, in float64.

    Raises:
        ValueError: steps or shift is out of range.

    Source: Esser et al., "Scaling Rectified Flow Transformers" (SD3), arXiv:2403.03206, 2024.
    """
    if steps < 1 or not shift > 0:
        raise ValueError(f"steps is {steps} and shift {shift}; steps ≥ 1 and shift > 0")
    u = 1 - torch.arange(steps + 1, dtype=torch.float64) / steps
    return shift * u / (1 + (shift - 1) * u)


def flow_noise(times: Float[Tensor, "T1"], *, level: float) -> Float[Tensor, "T"]:
    """Noise σ_t = a·√(t/(1 − t)) at the beginning of each step; at t = 1, where it has no bound,
    the t in the denominator is that of the next time.

    Args:
        times: Falling, from 1 to 0 `[T + 1]`.
        level: a, at least 0.

    Returns:
        `[T]`; a step's own deviation is σ·√(t − t').

    Raises:
        ValueError: level is below 0, or there is one step only, which has no next time.

    Source: Liu et al., "Flow-GRPO: Training Flow Matching Models via Online RL", arXiv:2505.05470,
        2025.
    """
    if level < 0 or len(times) < 3:
        raise ValueError(
            f"level is {level} and there are {len(times) - 1} steps; level ≥ 0 and at least 2 steps"
        )
    t = times[:-1]
    bound = torch.where(t < 1, t, times[1:])
    return level * (t / (1 - bound)).sqrt()


def flow_step(
    x: Float[Tensor, "*S D"],
    velocity: Float[Tensor, "*S D"],
    t: Float[Tensor, "*#S"],
    dt: Float[Tensor, "*#S"],
    sigma: Float[Tensor, "*#S"],
) -> Float[Tensor, "*S D"]:
    """Mean of the stochastic step that leaves the flow's marginals as they are.

    μ = x + v·dt + (σ²/2t)·(x + (1 − t)·v)·dt

    The step adds noise of deviation σ·√(−dt). With σ = 0 it is Euler's of the plain flow.

    Args:
        x: x_t `[*S, D]`.
        velocity: v(x_t, t) `[*S, D]`.
        t: Time, above 0 `[*S]`.
        dt: t' − t, below 0 `[*S]`.
        sigma: σ_t `[*S]`.

    Returns:
        `[*S, D]`, differentiable in x and velocity.

    Source: as `flow_noise`, eq. 9.
    """
    drift = velocity - 0.5 * sigma[..., None].square() * flow_score(x, velocity, t)
    return x + drift * dt[..., None]


def gaussian_logp(
    y: Float[Tensor, "*S D"],
    mean: Float[Tensor, "*S D"],
    std: Float[Tensor, "*#S"],
    *,
    reduction: str = "sum",
) -> Float[Tensor, "*S"]:
    """Log-density of a step: Σ_d or mean_d of −(y − μ)²/2s² − log s − ½·log 2π.

    The sum is the log-density. The mean is what the released code of DDPO and Flow-GRPO calls so: a
    ratio of it is not an importance ratio, and its clip range means something else at every D.

    Args:
        y: What was drawn `[*S, D]`.
        mean: μ `[*S, D]`.
        std: s, above 0 `[*S]`.
        reduction: Over the D coordinates: sum or mean.

    Returns:
        `[*S]` in nats (of one coordinate, for the mean), differentiable in y and mean.

    Raises:
        ValueError: reduction is neither.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is '{reduction}'; it is sum or mean")
    s = std[..., None]
    each = -0.5 * ((y - mean) / s).square() - s.log() - 0.5 * math.log(2 * math.pi)
    return each.sum(-1) if reduction == "sum" else each.mean(-1)


def gaussian_kl(
    mean: Float[Tensor, "*S D"], other: Float[Tensor, "*S D"], std: Float[Tensor, "*#S"]
) -> Float[Tensor, "*S"]:
    """KL of two steps with one deviation: ‖μ − μ'‖²/2s².

    Summed over the steps of a policy's own paths its mean is the KL of paths, which is no less than
    that of what they end in.

    Args:
        mean: μ `[*S, D]`.
        other: μ' `[*S, D]`.
        std: s, above 0 `[*S]`.

    Returns:
        `[*S]` in nats, differentiable in both means.
    """
    return 0.5 * ((mean - other) / std[..., None]).square().sum(-1)


def guarded_log_ratio(
    mean: Float[Tensor, "*S D"],
    old_mean: Float[Tensor, "*S D"],
    y: Float[Tensor, "*S D"],
    std: Float[Tensor, "*#S"],
    *,
    reduction: str = "mean",
) -> Float[Tensor, "*S"]:
    """Log-ratio of a step, recentred and rescaled: ⟨z, μ − μ_old⟩, z = (y − μ_old)/s.

    The log-ratio is −‖Δμ‖²/2s² + ⟨z, Δμ⟩/s: the first term is taken out and the rest is multiplied
    by s. Under the old policy it has mean 0 and deviation ‖Δμ‖ (÷ D for the mean) at every noise
    level. It is no importance ratio any more.

    Args:
        mean: μ `[*S, D]`.
        old_mean: μ_old, of the policy that drew y `[*S, D]`.
        y: What was drawn `[*S, D]`.
        std: s, above 0 `[*S]`.
        reduction: Over the D coordinates: sum or mean.

    Returns:
        `[*S]`, differentiable in mean alone.

    Raises:
        ValueError: reduction is neither.

    Source: Wang et al., "GRPO-Guard: Mitigating Implicit Over-Optimization in Flow Matching via
        Regulated Clipping", arXiv:2510.22319, 2025.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is '{reduction}'; it is sum or mean")
    z = ((y - old_mean) / std[..., None]).detach()
    each = z * (mean - old_mean.detach())
    return each.sum(-1) if reduction == "sum" else each.mean(-1)


def mixture_velocity(
    x: Float[Tensor, "M D"],
    t: Float[Tensor, "M"],
    log_weights: Float[Tensor, "M K"],
    centres: Float[Tensor, "K D"],
    *,
    std: float,
) -> Float[Tensor, "M D"]:
    """Velocity of the flow whose data are a mixture of K round Gaussians: E[ε − x₀ | x_t].

    Given its component, x_t is normal around (1 − t)·m_k with variance (1 − t)²·std² + t².

    Args:
        x: x_t `[M, D]`.
        t: Time `[M]`.
        log_weights: Logarithms of the components' weights `[M, K]`.
        centres: m_k `[K, D]`.
        std: Deviation of each component.

    Returns:
        `[M, D]`.

    Source: Bayes' rule.
    """
    s, keep = t[:, None], (1 - t)[:, None]
    variance = (keep * std).square() + s.square()
    away = x[:, None, :] - keep[..., None] * centres  # [M,K,D]
    share = (log_weights - 0.5 * away.square().sum(-1) / variance).softmax(-1)
    # E[ε | x, k] = t·away/variance and E[x₀ | x, k] = m_k + (1 − t)·std²·away/variance
    slope = (s - keep * std**2) / variance
    return (share[..., None] * (slope[..., None] * away - centres)).sum(1)


def effective_places(place: Int[Tensor, "N"], *, count: int, least: float) -> int:
    """How many of `count` places hold at least a share `least` of the points.

    Args:
        place: The place of each point, from 0 to count − 1; −1 for none `[N]`.
        count: Places.
        least: Share of all points.

    Returns:
        From 0 to count.
    """
    held = torch.bincount(place[place >= 0], minlength=count)
    return int((held >= least * len(place)).sum())
