"""Importance weights for completions that an engine generated, not the policy that learns.

An engine computes with other kernels and precision, so its distribution q differs from the
learner's π although the weights are the same. Each term of a loss is an expectation over π; over
the engine's completions it is weighed by ρ = π/q, truncated or masked so that no completion
outweighs the others. The names, and the defaults, are TRL's.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.formulas.surrogate import FAR

MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


def importance_ratio(
    logp: Float[Tensor, "B N T"],
    sampler_logp: Float[Tensor, "B N T"],
    mask: Bool[Tensor, "B N T"],
    *,
    sequence: bool = False,
) -> Float[Tensor, "B N T"]:
    """Ratio of the learner's to the engine's probability: ρ_t = π(y_t)/q(y_t), or ρ = Π_t ρ_t.

    Args:
        logp: log π of each decision, at sampling time `[B, N, T]`.
        sampler_logp: log q, as the engine reported it `[B, N, T]`.
        mask: The decisions `[B, N, T]`.
        sequence: The product over a completion's decisions, at each of them.

    Returns:
        `[B, N, T]`, 1 where masked; held within e^±40.

    Raises:
        ValueError: A log-probability of a decision is NaN.
    """
    gap = torch.where(mask, logp - sampler_logp, logp.new_zeros(()))
    if bool(torch.isnan(gap).any()):
        raise ValueError(
            f"the log-probability of {int(torch.isnan(gap).sum())} of {int(mask.sum())} decisions "
            "is NaN, so there is no ratio"
        )
    if sequence:
        gap = torch.where(mask, gap.sum(-1, keepdim=True), gap.new_zeros(()))
    return gap.detach().clamp(-FAR, FAR).exp()


def importance_weights(
    logp: Float[Tensor, "B N T"],
    sampler_logp: Float[Tensor, "B N T"],
    mask: Bool[Tensor, "B N T"],
    *,
    mode: str = "sequence_mask",
    low: float = 0.0,
    high: float = 3.0,
) -> Float[Tensor, "B N T"]:
    """Truncated importance weights: w = clip(ρ, low, high), or w = ρ·1[low ≤ ρ ≤ high].

    ρ is a token's ratio, or a completion's: the product of its tokens' (exp of the *sum* of
    log-ratios). The completion's removes the bias; its variance grows with the length.

    Args:
        logp: log π of each decision, at sampling time `[B, N, T]`.
        sampler_logp: log q, as the engine reported it `[B, N, T]`.
        mask: The decisions `[B, N, T]`.
        mode: token_truncate, token_mask, sequence_truncate or sequence_mask: whose ratio, and what
            becomes of one outside [low, high], the nearer bound or 0.
        low: The smallest ratio.
        high: The largest ratio.

    Returns:
        `[B, N, T]`, without gradient; 1 where masked.

    Raises:
        ValueError: Another mode, or not 0 ≤ low ≤ 1 ≤ high.

    Source: Yao et al., "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training",
        2025 (truncated, per token); Liu et al., "When Speed Kills Stability", 2025 (masked, per
        sequence); TRL 1.16, `vllm_importance_sampling_mode` (sequence_mask, 3.0).
    """
    if mode not in MODES or not 0 <= low <= 1 <= high:
        raise ValueError(
            f"mode is '{mode}', low {low} and high {high}: the mode is one of {', '.join(MODES)}, "
            "and 0 ≤ low ≤ 1 ≤ high"
        )
    rho = importance_ratio(logp, sampler_logp, mask, sequence=mode.startswith("sequence"))
    if mode.endswith("truncate"):
        return rho.clamp(low, high)
    return torch.where((rho >= low) & (rho <= high), rho, rho.new_zeros(()))


def effective_share(weights: Float[Tensor, "*S"], mask: Bool[Tensor, "*S"]) -> float:
    """Effective sample size as a share of the sample: (Σ w)² / (n·Σ w²).

    1 where all weights are equal, 1/n where one has everything.

    Args:
        weights: At least 0 `[*S]`.
        mask: Which of them count `[*S]`.

    Returns:
        From 0 to 1; 0 where all weights are 0, NaN where none counts.

    Source: Kong, "A note on importance sampling using standardized weights", 1992.
    """
    w = weights[mask].double()
    if not len(w):
        return float("nan")
    squares = float(w.square().sum())
    return float(w.sum()) ** 2 / (len(w) * squares) if squares else 0.0
