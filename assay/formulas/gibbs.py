"""The policy that a KL-regularised reward defines, and f-divergences to it.

That policy is p(y) ∝ π₀(y)·e^{Σ λᵢrᵢ(y)}. t = π/p throughout, so that log t = log π − log π₀ −
Σλᵢrᵢ + log Z. The divergence is D_f(π‖p) = E_p[f(t)], and its gradient is E_π[f'(t)·∇log π]: a
policy gradient with the reward −f'(t). Here "forward" is KL(p‖π) and "reverse" is KL(π‖p), which
RLHF maximises; some toolkits name them the other way.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

FAR = 40.0  # e^±40 is a number in float32 and its square in float64; no honest ratio is near it
DIVERGENCES = ("forward", "reverse", "jensen_shannon", "total_variation", "chi_squared")


def pseudo_reward(log_t: Float[Tensor, "*S"], *, divergence: str) -> Float[Tensor, "*S"]:
    """The reward whose policy gradient descends an f-divergence: −f'(t).

        forward          KL(p‖π)           f = −log t                            1/t
        reverse          KL(π‖p)           f = t·log t                           −(log t + 1)
        jensen_shannon   ½KL(π‖m)+½KL(p‖m) f = ½[t·log t − (t+1)·log((t+1)/2)]   ½·log((1+t)/(2t))
        total_variation  ½Σ|π−p|           f = ½|t−1|                            −½·sign(t−1)
        chi_squared      Σp²/π − 1         f = 1/t − 1                           1/t²

    Constants that a baseline removes are included: at π = p it is 1, −1, 0, 0 and 1.

    Args:
        log_t: log t `[*S]`.
        divergence: One of `DIVERGENCES`.

    Returns:
        `[*S]`; 1/t and its square are at most e^40.

    Raises:
        ValueError: The divergence is unknown.

    Source: Go et al., "Aligning Language Models with Preferences through f-divergence Minimization"
        (f-DPG), arXiv:2302.08215, 2023.
    """
    if divergence == "forward":
        return (-log_t).clamp(max=FAR).exp()
    if divergence == "reverse":
        return -(log_t + 1)
    if divergence == "jensen_shannon":
        return 0.5 * (torch.nn.functional.softplus(-log_t) - torch.log(log_t.new_tensor(2.0)))
    if divergence == "total_variation":
        return -0.5 * log_t.sign()
    if divergence == "chi_squared":
        return (-2 * log_t).clamp(max=FAR).exp()
    raise ValueError(f"divergence is '{divergence}'; it is one of {', '.join(DIVERGENCES)}")


def at_the_target(*, divergence: str) -> float:
    """The pseudo-reward where π = p, −f'(1): the baseline that makes its mean 0 there.

    Args:
        divergence: One of `DIVERGENCES`.
    """
    return float(pseudo_reward(torch.zeros((), dtype=torch.float64), divergence=divergence))


def sampled_divergence(log_t: Float[Tensor, "*S"], *, divergence: str) -> Float[Tensor, "*S"]:
    """What an f-divergence averages over completions of π: f(t)/t, since E_p[f(t)] = E_π[f(t)/t].

    Single values may be negative, and their mean over few completions too. Where 1/t is heavy the
    mean is as uncertain as importance weights are.

    Args:
        log_t: log t of completions of π `[*S]`.
        divergence: One of `DIVERGENCES`.

    Returns:
        `[*S]`; 1/t and its square are at most e^40.

    Raises:
        ValueError: The divergence is unknown.
    """
    over = (-log_t).clamp(max=FAR).exp()  # 1/t
    if divergence == "forward":
        return -log_t * over
    if divergence == "reverse":
        return log_t
    if divergence == "jensen_shannon":
        middle = torch.nn.functional.softplus(log_t) - torch.log(log_t.new_tensor(2.0))
        return 0.5 * (log_t - (1 + over) * middle)
    if divergence == "total_variation":
        return 0.5 * (1 - over).abs()
    if divergence == "chi_squared":
        return (-2 * log_t).clamp(max=FAR).exp() - over
    raise ValueError(f"divergence is '{divergence}'; it is one of {', '.join(DIVERGENCES)}")


def f_divergence(
    log_pi: Float[Tensor, "*S V"], log_p: Float[Tensor, "*S V"], *, divergence: str
) -> Float[Tensor, "*S"]:
    """An f-divergence of whole distributions: E_p[f(π/p)].

    Args:
        log_pi: log π `[*S, V]`.
        log_p: log p `[*S, V]`.
        divergence: One of `DIVERGENCES`.

    Returns:
        `[*S]`, differentiable in log π; 0 where they agree, never negative.

    Raises:
        ValueError: The divergence is unknown.
    """
    t, p = log_pi - log_p, log_p.exp()
    f = {
        "forward": lambda: -t,
        "reverse": lambda: t.exp() * t,
        "jensen_shannon": lambda: (
            0.5
            * (t.exp() * t - (t.exp() + 1) * (torch.log1p(t.exp()) - torch.log(t.new_tensor(2.0))))
        ),
        "total_variation": lambda: 0.5 * torch.expm1(t).abs(),
        "chi_squared": lambda: torch.expm1(-t),
    }
    if divergence not in f:
        raise ValueError(f"divergence is '{divergence}'; it is one of {', '.join(DIVERGENCES)}")
    return (p * f[divergence]()).sum(-1)


def tilting(
    features: Float[Tensor, "M n"],
    wanted: Float[Tensor, "M"],
    *,
    steps: int = 100,
    tolerance: float = 1e-9,
) -> Float[Tensor, "M"]:
    """The weights λ under which features have given means (self-normalised importance sampling).

    Σᵢ wᵢ·φ(yᵢ) = wanted,  wᵢ ∝ e^{λ·φ(yᵢ)}

    Newton's method with halved steps on the convex log Σ e^{λ·φ} − λ·wanted, in float64.

    Args:
        features: φ of n draws of π₀ `[M, n]`.
        wanted: The means `[M]`.
        steps: Most Newton steps.
        tolerance: Largest difference between a mean and its goal.

    Returns:
        λ `[M]`.

    Raises:
        ValueError: No λ gives these means: they are outside what the draws span.

    Source: Khalifa et al., "A Distributional Approach to Controlled Text Generation" (GDC),
        arXiv:2012.11635, 2021.
    """
    phi, goal = features.double(), wanted.double()
    lam = torch.zeros_like(goal)

    def value(l: Tensor) -> Tensor:
        return torch.logsumexp(l @ phi, -1) - l @ goal

    for _ in range(steps):
        w = torch.softmax(lam @ phi, -1)
        mean = phi @ w
        gap = mean - goal
        if float(gap.abs().max()) < tolerance:
            return lam.to(features.dtype)
        centred = phi - mean[:, None]
        curve = (centred * w) @ centred.T
        step = torch.linalg.lstsq(
            curve + 1e-12 * torch.eye(len(goal), dtype=torch.float64), gap[:, None]
        ).solution[:, 0]
        size = 1.0
        while size > 1e-6 and not bool(
            value(lam - size * step) <= value(lam) - 1e-4 * size * (gap @ step)
        ):
            size /= 2
        lam = lam - size * step
        if not bool(lam.isfinite().all()) or float(lam.abs().max()) > 1e6:
            break
    raise ValueError(
        f"no weights of the {phi.shape[1]} draws have the means "
        f"{[round(float(g), 4) for g in goal]}: they span "
        f"{[round(float(v), 4) for v in phi.amin(1)]} to "
        f"{[round(float(v), 4) for v in phi.amax(1)]}"
    )


def effective_share(log_weight: Float[Tensor, "*S n"]) -> Float[Tensor, "*S"]:
    """Effective sample size as a share of n weighted draws: (Σw)²/(n·Σw²).

    Args:
        log_weight: log w `[*S, n]`.

    Returns:
        `[*S]`, from 1/n (one draw has all the weight) to 1.
    """
    n = log_weight.shape[-1]
    return (2 * log_weight.logsumexp(-1) - (2 * log_weight).logsumexp(-1)).exp() / n
