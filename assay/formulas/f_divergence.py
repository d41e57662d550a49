"""DPO under another divergence than KL(π‖π₀): the loss of f-DPO.

The policy that maximises E_π[r] − β·D_f(π‖π₀) has r = β·f'(π/π₀) + constant wherever f' is infinite
at 0, so that the constant falls out of a pair's difference as it does in DPO.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from assay.formulas.gibbs import FAR
from assay.formulas.pairwise import dpo

DIVERGENCES = ("reverse", "forward", "jensen_shannon", "alpha")


def slope(
    logratio: Float[Tensor, "*S"], *, divergence: str, alpha: float = 0.5
) -> Float[Tensor, "*S"]:
    """f'(u) of a ratio u = π/π₀, less its value that no difference sees.

        reverse          KL(π‖π₀)            f = u·log u                      log u
        forward          KL(π₀‖π)            f = −log u                       −1/u
        jensen_shannon   KL(π‖m) + KL(π₀‖m)  f = u·log u − (u+1)·log((u+1)/2) log(u/(1+u))
        alpha            of order α          f = (u^(1−α) − (1−α)·u − α)/(α(α−1))   (1 − u^(−α))/α

    The last is `reverse` as α → 0 and `forward` (plus 1) at α = 1. Jensen–Shannon's is bounded
    above by 0: a completion can be at most so much rewarded, however likely it becomes.

    Args:
        logratio: log u, a sum over tokens `[*S]`.
        divergence: One of `DIVERGENCES`.
        alpha: α, above 0 and at most 1; read by `alpha` alone.

    Returns:
        `[*S]`, rising in the ratio. Powers of 1/u are at most e^40, beyond which the gradient is 0.

    Raises:
        ValueError: The divergence is unknown, or alpha is outside (0, 1].

    Source: Wang et al., "Beyond Reverse KL: Generalizing Direct Preference Optimization with
        Diverse Divergence Constraints" (f-DPO), arXiv:2309.16240, 2023.
    """
    if divergence == "reverse":
        return logratio
    if divergence == "forward":
        return -(-logratio).clamp(max=FAR).exp()
    if divergence == "jensen_shannon":
        return logsigmoid(logratio)
    if divergence == "alpha":
        if not 0 < alpha <= 1:
            raise ValueError(
                f"alpha is {alpha}; an α-divergence needs it above 0 and at most 1 (reverse is its "
                "limit at 0)"
            )
        return -torch.expm1((-alpha * logratio).clamp(max=FAR)) / alpha
    raise ValueError(f"divergence is '{divergence}'; it is one of {', '.join(DIVERGENCES)}")


def f_dpo(
    chosen_logratio: Float[Tensor, "*S"],
    rejected_logratio: Float[Tensor, "*S"],
    *,
    beta: float,
    divergence: str,
    alpha: float = 0.5,
    smoothing: float = 0.0,
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """DPO under an f-divergence: −log σ(β·f'(π/π₀(y_w)) − β·f'(π/π₀(y_l))).

    With `reverse` it is DPO.

    Args:
        chosen_logratio: ℓ_w `[*S]`.
        rejected_logratio: ℓ_l `[*S]`.
        beta: β.
        divergence: One of `DIVERGENCES`.
        alpha: α, above 0 and at most 1; read by `alpha` alone.
        smoothing: Share ε of labels taken as wrong.
        p: Probability that the first is truly better `[*S]`.

    Returns:
        `[*S]`.

    Raises:
        ValueError: The divergence is unknown, or alpha or smoothing is out of range.

    Source: Wang et al., arXiv:2309.16240, 2023.
    """
    return dpo(
        slope(chosen_logratio, divergence=divergence, alpha=alpha),
        slope(rejected_logratio, divergence=divergence, alpha=alpha),
        beta=beta,
        smoothing=smoothing,
        p=p,
    )
