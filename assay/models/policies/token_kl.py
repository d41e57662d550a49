"""KL of a language model to its reference, token by token: by the whole distributions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Prompts, Samples
from assay.core.rng import Rng

_HIDDEN = "hidden"  # in `Samples.extra`: the states that decisions follow, where drawing kept them
_HELD = 1 << 30  # bytes of such states, at most


def token_kl(policy: Any, reference: Any, samples: Samples) -> Float[Tensor, "B N"]:
    """Compute Σ_t KL(π(·|y_<t) ‖ reference(·|y_<t)) over own decisions, in nats.

    Args:
        policy: A Causal.
        reference: Another over the same vocabulary.
        samples: Completions; with the states of drawing, only the reference reads them.
    """
    known = samples.extra.get(_HIDDEN)
    theirs, place = reference.states(samples)
    mine = policy.states(samples)[0] if known is None else known[samples.mask]
    each = [
        torch.where(p == -torch.inf, 0.0, p.exp() * (p - q)).sum(-1).clamp(min=0)
        for p, q in (
            (policy.log_probs(mine[s], place[s]), reference.log_probs(theirs[s], place[s]))
            for s in policy.pieces(len(place))
        )
    ]
    out = mine.new_zeros(samples.mask.shape)
    return (out.masked_scatter(samples.mask, torch.cat(each)) if each else out).sum(-1)


def sample_and_kl(
    policy: Any, reference: Any, prompts: Prompts, n: int, rng: Rng
) -> tuple[Samples, Float[Tensor, "B N"]]:
    """Draw completions, and compute their KL by the hidden states that drawing knew.

    They are held until then, if they are not too many; else the completions are read again. So they
    are in bfloat16 and float16: drawing rounds in other places than reading does, and against a
    reference that is read the difference would count as KL.

    Args:
        policy: A Causal; what draws elsewhere keeps no states, and reads its completions.
        reference: Another over the same vocabulary.
        prompts: As for `sample`, like the others.
        n: Completions a prompt.
        rng: The address of the draws.

    Returns:
        (completions, KL of each).
    """
    states = len(prompts) * n * policy.max_tokens * policy.backbone.width
    few = states * policy.like.element_size() <= _HELD
    computes = getattr(policy.backbone, "computes_with", policy.backbone)
    coarse = getattr(computes, "half_precision", False)
    policy.keeps_states = few and not coarse and policy is not reference  # of itself it is 0
    try:
        x = policy.sample(prompts, n, rng)
    finally:
        policy.keeps_states = False
    kl = policy.kl(reference, x)
    return replace(x, extra={k: v for k, v in x.extra.items() if k != _HIDDEN}), kl
