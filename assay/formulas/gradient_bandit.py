"""The softmax gradient of a bandit: exact, sampled, and how noisy the sampled one is.

The policy is π = softmax(θ) over K arms with mean rewards μ; J = π·μ. Rows R are independent runs.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def exact_gradient(theta: Float[Tensor, "R K"], mean: Float[Tensor, "K"]) -> Float[Tensor, "R K"]:
    """Gradient of the expected reward: ∂J/∂θ_k = π_k·(μ_k − π·μ).

    Args:
        theta: Logits `[R, K]`.
        mean: Mean reward μ of each arm `[K]`.

    Returns:
        `[R, K]`; each row sums to 0.

    Source: Mei et al., "Stochastic Gradient Succeeds for Bandits", arXiv:2402.17235, 2024.
    """
    p = theta.softmax(-1)
    return p * (mean - (p @ mean)[:, None])


def sampled_gradient(
    theta: Float[Tensor, "R K"], arm: Int[Tensor, "R"], reward: Float[Tensor, "R"]
) -> Float[Tensor, "R K"]:
    """REINFORCE without a baseline from one pull: ĝ_k = (1[k = a] − π_k)·R; E ĝ = ∂J/∂θ.

    Args:
        theta: Logits `[R, K]`.
        arm: The arm a that was pulled, drawn from π `[R]`.
        reward: Its reward R `[R]`.

    Returns:
        `[R, K]`; each row sums to 0.

    Source: Mei et al., arXiv:2402.17235, 2024, Algorithm 1.
    """
    g = -theta.softmax(-1)
    g.scatter_add_(1, arm[:, None], torch.ones_like(g[:, :1]))
    return g * reward[:, None]


def second_moment(theta: Float[Tensor, "R K"], square: Float[Tensor, "K"]) -> Float[Tensor, "R"]:
    """Size of the sampled gradient: E‖ĝ‖² = Σ_a π_a·‖e_a − π‖²·E[R² | a].

    It vanishes as π becomes certain of any arm: the noise goes with the progress, so that a
    constant step needs no decay.

    Args:
        theta: Logits `[R, K]`.
        square: E[R² | a] of each arm `[K]`; μ for rewards of 0 and 1.

    Returns:
        `[R]`.
    """
    p = theta.softmax(-1)
    away = 1 - 2 * p + p.square().sum(-1, keepdim=True)  # ‖e_a − π‖²
    return (p * away * square).sum(-1)


def growth_constant(mean: Float[Tensor, "K"], *, largest: float = 1.0) -> float:
    """The constant C of strong growth, E‖ĝ‖² ≤ C·‖∇J‖: C = 8·R³·K^{3/2}/Δ².

    Args:
        mean: Mean rewards `[K]`, all different.
        largest: R, the largest |reward|.

    Returns:
        C. The step size for which the theorem is proved is 1/(5C) = Δ²/(40·K^{3/2}·R³).

    Raises:
        ValueError: Two arms have one mean, so that Δ, the least difference, is 0.

    Source: Mei et al., arXiv:2402.17235, 2024, Lemma 4.3 and Theorem 5.5.
    """
    ranked = mean.double().sort().values
    gap = float((ranked[1:] - ranked[:-1]).min())
    if not gap > 0:
        raise ValueError(
            "two arms have the same mean reward, so that the least difference Δ is 0 and the "
            "bound is infinite; give means that differ"
        )
    return 8 * largest**3 * float(len(mean) ** 1.5) / gap**2
