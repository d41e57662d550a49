"""Pairs of a policy's answers, labeled as people label: by Bradley–Terry on a score, and some of
them flipped.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from assay.core import Pairs, Prompts, Rng, Sampler, Samples
from assay.errors import InputError


def labeled(
    policy: Sampler,
    prompts: Prompts,
    n: int,
    *,
    score: Callable[[Samples], Tensor],
    noise: float,
    rng: Rng,
) -> Pairs:
    """n pairs, the prompts in turn: the first answer is preferred with chance σ(its score − the
    other's), then a share `noise` of the labels is turned round. The preferred answer stands first.
    `score(samples) → [B,N]`.
    """
    if n < 1 or not 0 <= noise <= 1:
        raise InputError(
            f"{n} pairs with a share of {noise} flipped were asked for; at least 1 pair, and a "
            "share from 0 to 1"
        )
    b = torch.arange(n)
    x = policy.sample(prompts[b % len(prompts)], 2, rng("sample"))
    value = score(x)
    first = rng("prefer").uniform(b) < torch.sigmoid(value[:, 0] - value[:, 1])
    wins = (first ^ (rng("flip").uniform(b) < noise)).long()
    x = x.pick(torch.stack([1 - wins, wins], 1))
    return Pairs(
        x.prompts,
        x.action,
        x.mask,
        x.given,
        x.logp,
        x.ended,
        p=torch.ones(n),
        margin=torch.zeros(n),
    )
