"""DRPO's objective: right answers against wrong ones, lengths weighed among the right alone."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@torch.no_grad()
def length_log_weights(
    lengths: Int[Tensor, "B N"], *, longest: int, lam: float = 0.1
) -> Float[Tensor, "B N"]:
    """Logarithm of a right answer's weight: log w = (1 − |y|/L_max)/λ.

    Only weights relative to the prompt's other right answers count.

    Args:
        lengths: |y|, decisions of each completion.
        longest: L_max, a constant: the width of a padded batch would make weights depend on what
            else is in it.
        lam: λ; infinite for no preference of length.

    Returns:
        `[B, N]`.

    Raises:
        ValueError: λ or L_max is not above 0.

    Source: Li et al., "DRPO", arXiv:2510.04474, 2025.
    """
    if not (lam > 0 and longest > 0):
        raise ValueError(f"lam is {lam} and longest {longest}; both must be above 0")
    return (1 - lengths.double() / longest) / lam


def decoupled(
    score: Float[Tensor, "B N"],
    right: Bool[Tensor, "B N"],
    present: Bool[Tensor, "B N"],
    log_weight: Float[Tensor, "B N"],
    *,
    tau: float = 10.0,
) -> Float[Tensor, "B"]:
    """Weighted mean score of right answers against a soft maximum of wrong ones, negated.

    L = −(Σ₊ w_i·s_i/Σ₊ w_j − τ·log Σ₋ exp(s_j/τ))

    By s_i the gradient of a right answer is −w_i/Σ₊w, never positive: a long right answer is
    raised less than a short one, and never pushed down. That of a wrong one is its softmax weight
    at temperature τ. Large τ weighs all wrong answers alike.

    Args:
        score: s `[B, N]`, such as the mean log-probability of a completion's decisions.
        right: Which completions are right.
        present: Which completions count.
        log_weight: log w, read at right answers.
        tau: τ, in units of the score, above 0.

    Returns:
        `[B]`; 0, without a gradient, where a prompt has no right answer or no wrong one.

    Raises:
        ValueError: τ is not above 0.

    Source: Li et al., "DRPO", arXiv:2510.04474, 2025. The released loss has this gradient; its
        value is a constant, and nothing to be read.
    """
    if not tau > 0:
        raise ValueError(f"tau is {tau}; it must be above 0")
    good, bad = right & present, ~right & present
    mixed = good.any(-1) & bad.any(-1)
    none = score.new_zeros(())
    # rows of one kind are computed on placeholders, so that nothing infinite meets the gradient
    low = torch.finfo(score.dtype).min
    w = torch.where(good, log_weight.to(score.dtype), low).softmax(-1)
    up = torch.where(good, w * score, none).sum(-1)
    down = tau * torch.where(bad, score / tau, low).logsumexp(-1)
    return torch.where(mixed, down - torch.where(mixed, up, none), none)


def hinged_kl(kl: Float[Tensor, "*S"], *, delta: float, beta: float) -> Float[Tensor, "*S"]:
    """Penalty on what a KL exceeds: β·sg((KL − δ)⁺)·KL.

    Its gradient is that of (β/2)·((KL − δ)⁺)².

    Args:
        kl: An estimate of the KL, differentiable, in nats.
        delta: δ, what is free.
        beta: β.

    Returns:
        `[*S]`; 0 up to δ.

    Source: Li et al., "DRPO", arXiv:2510.04474, 2025.
    """
    return beta * (kl.detach() - delta).clamp(min=0) * kl
