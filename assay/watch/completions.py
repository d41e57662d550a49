"""Samples of two policies side by side, and as text."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.core import Missing, Rng, Samples


def one_completion(x: Samples, rng: Rng) -> Samples:
    """One completion for each prompt.

    Args:
        x: Samples with any N. Of a weighted pool (best-of-n, particles), one is drawn by weight.
        rng: Draws it.

    Returns:
        Samples with N = 1.
    """
    if x.mask.shape[1] == 1 and "weight" not in x.extra:
        return x
    weight = x.weight.double().cumsum(1)
    u = rng.uniform(torch.arange(len(x)), dtype=torch.float64)[:, None] * weight[:, -1:]
    return x.pick((weight <= u).sum(1, keepdim=True).clamp(max=weight.shape[1] - 1))


def side_by_side(first: Samples, other: Samples) -> Samples:
    """Samples with N = 2 from two with N = 1, in this order."""
    T = max(first.mask.shape[2], other.mask.shape[2])
    first, other = first.widened(T), other.widened(T)

    def both(name: str) -> Tensor:
        return torch.cat([getattr(first, name), getattr(other, name)], 1)

    shared = {
        k: torch.cat([v, other.extra[k]], 1)
        for k, v in first.extra.items()
        if k in other.extra and k != "weight"
    }
    return Samples(
        first.prompts,
        both("action"),
        both("mask"),
        both("given"),
        both("logp"),
        both("ended"),
        shared,
    )


def texts_of(samples: Samples) -> tuple[list[str], list[list[str]]]:
    """Prompts and completions as text; the numbers that were drawn where the world has no words."""
    try:
        return samples.prompts.text(), samples.text()
    except Missing:
        prompts = [f"prompt {r}" for r in samples.prompts.row.tolist()]
        numbers = [
            [str(action[keep].tolist()) for action, keep in zip(actions, keeps)]
            for actions, keeps in zip(samples.action, samples.mask)
        ]
        return prompts, numbers


def free_stats(seen: list[Samples]) -> dict[str, float]:
    """What completions say without a label.

    Args:
        seen: Samples with N = 1.

    Returns:
        entropy: −log π of a decision, in nats; repetition: the share of decisions that repeat an
        earlier one of the same completion. Each is left out where it cannot be computed.
    """
    seen = [x for x in seen if bool(x.mask.any())]
    if not seen:
        return {}
    nats = sum(float(-x.logp[x.mask].sum()) for x in seen) / sum(int(x.mask.sum()) for x in seen)
    repeated = [
        1 - len(set(action[keep].tolist())) / int(keep.sum())
        for x in seen
        if x.action.dim() == 3
        for action, keep in zip(x.action[:, 0], x.mask[:, 0])
        if bool(keep.any())
    ]
    return {
        **({"entropy": nats} if nats == nats else {}),
        **({"repetition": sum(repeated) / len(repeated)} if repeated else {}),
    }
