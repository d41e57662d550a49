"""The policy that a KL-regularised reward asks for, p(y) ∝ π₀(y)·e^{Σ λᵢrᵢ(y)}, and f-divergences
to it.

t = π/p throughout, so log t = log π − log π₀ − Σλᵢrᵢ + log Z. The divergence is D_f(π‖p) =
E_p[f(t)], whose gradient is E_π[f'(t)·∇log π]: a policy gradient whose reward is −f'(t). Toolkits
that train distributions call KL(p‖π) "the KL" and KL(π‖p) "reverse"; here "forward" is KL(p‖π) and
"reverse" KL(π‖p), what RLHF maximises.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

FAR = 40.0  # e^±40 is a number in float32 and its square in float64; no honest ratio is near it
DIVERGENCES = ("forward", "reverse", "jensen_shannon", "total_variation", "chi_squared")


def pseudo_reward(log_t: Float[Tensor, "*S"], *, divergence: str) -> Float[Tensor, "*S"]:
    """−f'(t), with log t as it is (f-DPG; Go et al. 2023). Constants that a baseline removes are
    kept.

        forward          KL(p‖π)           f = −log t                            1/t
        reverse          KL(π‖p)           f = t·log t                           −(log t + 1)
        jensen_shannon   ½KL(π‖m)+½KL(p‖m) f = ½[t·log t − (t+1)·log((t+1)/2)]   ½·log((1+t)/(2t))
        total_variation  ½Σ|π−p|           f = ½|t−1|                            −½·sign(t−1)
        chi_squared      Σp²/π − 1         f = 1/t − 1                           1/t²

    1/t is held at e^40, its square at e^40 too. E_π of it at π = p is −f'(1): 1, −1, 0, 0, 1.
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
    """−f'(1): what the pseudo-reward is where π = p, the baseline that makes its mean 0 there
    (forward: P/(Zπ) − 1).
    """
    return float(pseudo_reward(torch.zeros((), dtype=torch.float64), divergence=divergence))


def f_divergence(
    log_pi: Float[Tensor, "*S V"], log_p: Float[Tensor, "*S V"], *, divergence: str
) -> Float[Tensor, "*S"]:
    """E_p[f(π/p)] of whole distributions, differentiable in log π: 0 where they agree, never
    negative.
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
    """λ such that the mean of the features under weights ∝ e^{λ·φ} is `wanted` (GDC's
    self-normalised importance sampling).

    `features` are of n draws of π₀. Newton's method with halved steps on the convex log Σe^{λ·φ} −
    λ·wanted, in float64. Raises ValueError where no λ does: a mean outside what the draws span.
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
    """(Σw)²/(n·Σw²): the share of n weighted draws that is worth anything. 1/n where one outweighs
    all others.
    """
    n = log_weight.shape[-1]
    return (2 * log_weight.logsumexp(-1) - (2 * log_weight).logsumexp(-1)).exp() / n
