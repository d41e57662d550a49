"""Imitation of an expert beside reinforcement learning: its weight over time, and over tokens."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

WEIGHTS = ("one", "p", "p(1-p)")


def warmup_cosine(*, step: int, warmup: int, decay: int, peak: float, valley: float) -> float:
    """Weight of a loss at a step: a linear warm-up to the peak, then a cosine to the valley.

        μ_t = peak·t/warmup                                            for t < warmup
        μ_t = valley + (peak − valley)·½(1 + cos(π·(t − warmup)/decay))  for t < warmup + decay
        μ_t = valley                                                   afterwards

    Args:
        step: t, 0 for the first update.
        warmup: Steps of the warm-up; 0 begins at the peak.
        decay: Steps of the cosine; 0 falls to the valley at once.
        peak: Largest weight.
        valley: Weight at the end.

    Returns:
        μ_t.

    Raises:
        ValueError: A number of steps is negative, or not 0 ≤ valley ≤ peak ≤ 1.

    Source: Zhang et al. (CHORD), arXiv:2508.11408, 2025; as in the authors' code.

    Example:
        >>> warmup_cosine(step=0, warmup=0, decay=200, peak=0.9, valley=0.05)
        0.9
    """
    if min(step, warmup, decay) < 0 or not 0 <= valley <= peak <= 1:
        raise ValueError(
            f"step is {step}, warmup {warmup}, decay {decay}, peak {peak} and valley {valley}: "
            "steps are at least 0, and 0 ≤ valley ≤ peak ≤ 1"
        )
    if step < warmup:
        return peak * step / warmup
    if step >= warmup + decay:
        return valley
    return valley + (peak - valley) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / decay))


def expert_weight(logp: Float[Tensor, "*S"], *, kind: str = "p(1-p)") -> Float[Tensor, "*S"]:
    """Weight φ of an expert's token by the policy's probability p of it, without gradient.

        one:     φ = 1          SFT
        p:       φ = p          the gradient is that of −p: importance-weighted SFT
        p(1-p):  φ = p·(1 − p)  at most ¼, at p = ½; the gradient is that of −(p − p²/2)

    Both p and p(1−p) vanish with p: a token that the policy never writes is hardly learned.

    Args:
        logp: log p of the expert's tokens `[*S]`, at most 0.
        kind: one, p or p(1-p).

    Returns:
        φ `[*S]`.

    Raises:
        ValueError: Another kind.

    Source: Zhang et al. (CHORD), arXiv:2508.11408, 2025; p alone: their code's `sft_is`.
    """
    if kind not in WEIGHTS:
        raise ValueError(f"kind is '{kind}'; it is one of {', '.join(WEIGHTS)}")
    known = logp.detach()
    if kind == "one":
        return torch.ones_like(known)
    p = known.exp()
    return p if kind == "p" else -p * torch.expm1(known)


def weighted_imitation(
    logp: Float[Tensor, "*S"], weight: Float[Tensor, "*S"]
) -> Float[Tensor, "*S"]:
    """Weighted imitation of an expert's tokens: −φ·log p.

    Args:
        logp: log p `[*S]`.
        weight: φ `[*S]`; no gradient flows into it.

    Returns:
        `[*S]`, unreduced.

    Source: Zhang et al. (CHORD), arXiv:2508.11408, 2025.
    """
    return -weight.detach() * logp
