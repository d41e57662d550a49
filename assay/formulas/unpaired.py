"""Losses of single completions that are labelled desirable or not, one term a completion."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def kto(
    logratio: Float[Tensor, "*S"],
    desirable: Float[Tensor, "*S"],
    *,
    reference_point: float | Float[Tensor, "*#S"],
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Float[Tensor, "*S"]:
    """KTO: λ_D·(1 − σ(β(ℓ − z₀))) of desirable completions, λ_U·(1 − σ(β(z₀ − ℓ))) of others.

    Its gradient is largest where ℓ is near z₀ and vanishes on both sides: what the policy has
    learned, and what it contradicts without hope. Of balanced data λ_D = λ_U; else choose them so
    that λ_D·n_D/(λ_U·n_U) is between 1 and 4/3.

    Args:
        logratio: ℓ, a sum over tokens `[*S]`.
        desirable: Probability that the completion is desirable `[*S]`; 1 or 0 for plain labels.
        reference_point: z₀ in nats, see `reference_point`; no gradient flows into it.
        beta: β.
        desirable_weight: λ_D.
        undesirable_weight: λ_U.

    Returns:
        `[*S]`, from 0 to λ_D or λ_U.

    Source: Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization",
        arXiv:2402.01306, 2024.
    """
    z = reference_point.detach() if isinstance(reference_point, Tensor) else reference_point
    gain = beta * (logratio - z)
    good = desirable.to(logratio.dtype)
    return desirable_weight * good * torch.sigmoid(-gain) + undesirable_weight * (
        1 - good
    ) * torch.sigmoid(gain)


def reference_point(
    logratio: Float[Tensor, "*S"], present: Bool[Tensor, "*S"] | None = None
) -> Float[Tensor, ""]:
    """z₀: the mean log-ratio of completions under prompts that are not theirs, at least 0.

    It estimates KL(π‖π₀) without sampling, and is biased: such completions are not the policy's.
    A KL is never negative, hence the bound.

    Args:
        logratio: ℓ of mismatched prompts and completions, sums over tokens `[*S]`.
        present: Which of them count `[*S]`; None for all.

    Returns:
        `[]`, without gradient; 0 where none counts.

    Source: Ethayarajh et al., arXiv:2402.01306, 2024.
    """
    here = torch.ones_like(logratio, dtype=torch.bool) if present is None else present
    total = torch.where(here, logratio.detach(), 0.0).sum()
    return (total / here.sum().clamp(min=1)).clamp(min=0.0)


def mismatched(prompt: Int[Tensor, "B"]) -> tuple[Int[Tensor, "B"], Bool[Tensor, "B"]]:
    """Give each row the completion of another prompt, every completion once.

    Rows are sorted by prompt and shifted by the size of the largest prompt's group. A shift by one
    would give a prompt its own completion wherever neighbours share it.

    Args:
        prompt: Which prompt each row has `[B]`.

    Returns:
        Row whose completion each row takes `[B]`, a permutation; and whether that is another
        prompt's `[B]`: it is for all rows unless one prompt has more than half of them.
    """
    place = prompt.argsort(stable=True)
    _, counts = torch.unique(prompt, return_counts=True)
    taken = torch.empty_like(place)
    taken[place] = place.roll(-int(counts.max()) if len(counts) else 0)
    return taken, prompt[taken] != prompt
