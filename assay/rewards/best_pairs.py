"""Preference pairs from a better source: the best of several completions against another one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from assay.core import Pairs, Prompts, Rng, Sampler, Samples
from assay.errors import InputError
from assay.rewards.simulated_labels import preferences


def best_against_one(
    policy: Sampler,
    prompts: Prompts,
    n: int,
    *,
    best: int,
    score: Callable[[Samples], Tensor],
    noise: float,
    rng: Rng,
) -> Pairs:
    """Sample pairs of one completion and the best of `best` others, and label them.

    The best one stands for a stronger model's completion. The label is Bradley–Terry on the score,
    as with any other pair. At best = 1 these are two plain completions.

    Args:
        policy: Where completions are sampled from.
        prompts: The prompts, taken in turn.
        n: The number of pairs.
        best: Completions that the better one is chosen from.
        score: `score(samples)` returns the scores `[B,N]`.
        noise: The share of flipped labels, from 0 to 1.
        rng: The address of completions and labels.

    Returns:
        The pairs, the preferred completion first.

    Raises:
        InputError: A number is too small, or `noise` is no share.
    """
    if n < 1 or best < 1 or not 0 <= noise <= 1:
        raise InputError(
            f"{n} pairs with the best of {best} and a share of {noise} flipped labels cannot be "
            "drawn; give at least 1 pair, the best of at least 1, and a share from 0 to 1"
        )
    x = policy.sample(prompts[torch.arange(n) % len(prompts)], 1 + best, rng("sample"))
    s = score(x)
    pick = torch.stack([torch.zeros(n, dtype=torch.int64), 1 + s[:, 1:].argmax(1)], 1)
    return preferences(x.pick(pick), s.gather(1, pick), noise=noise, rng=rng)
