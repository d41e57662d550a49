"""Preferences as people give them: Bradley–Terry on a score, and some labels flipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Pairs, Prompts, Rng, Sampler, Samples
from assay.errors import InputError


def preferences(
    samples: Samples,
    score: Float[Tensor, "B 2"] | None,
    *,
    noise: float,
    rng: Rng,
    address: str = "prefer",
) -> Pairs:
    """Label two completions a row.

    The first is preferred with chance σ(its score − the other's); then a share `noise` of the
    labels is flipped.

    Args:
        samples: Two completions a row.
        score: Their scores; None where the first is the better one for certain.
        noise: The share of flipped labels, from 0 to 1.
        rng: The address of the labels; flips are drawn at `rng("flip")`.
        address: Where preferences are drawn: `rng(address)`.

    Returns:
        The pairs, the preferred completion first.
    """
    b = torch.arange(len(samples))
    first = torch.ones(len(b), dtype=torch.bool)
    if score is not None:
        first = rng(address).uniform(b) < torch.sigmoid(score[:, 0] - score[:, 1])
    wins = (first ^ (rng("flip").uniform(b) < noise)).long()
    x = samples.pick(torch.stack([1 - wins, wins], 1))
    parts = {f.name: getattr(x, f.name) for f in fields(Samples)}
    return Pairs(**parts, p=torch.ones(len(b)), margin=torch.zeros(len(b)))


def labeled(
    policy: Sampler,
    prompts: Prompts,
    n: int,
    *,
    score: Callable[[Samples], Tensor],
    noise: float,
    rng: Rng,
) -> Pairs:
    """Sample pairs from a policy, the prompts in turn, and label them by `preferences`.

    Args:
        policy: Where completions are sampled from.
        prompts: The prompts.
        n: The number of pairs.
        score: `score(samples)` returns the scores `[B,N]`.
        noise: The share of flipped labels.
        rng: The address of completions and labels.

    Returns:
        The pairs, the preferred completion first.

    Raises:
        InputError: There is no pair to label, or `noise` is no share.
    """
    if n < 1 or not 0 <= noise <= 1:
        raise InputError(
            f"{n} pairs with a share of {noise} flipped labels cannot be drawn; give at least 1 "
            "pair, and a share from 0 to 1"
        )
    x = policy.sample(prompts[torch.arange(n) % len(prompts)], 2, rng("sample"))
    return preferences(x, score(x), noise=noise, rng=rng)


def told(
    label: Float[Tensor, "B"], share: Float[Tensor, "B"], raters: int, rng: Rng
) -> Float[Tensor, "B"]:
    """The share of a few raters who prefer the first completion of each pair.

    Args:
        label: One rater's labels.
        share: The share of all raters.
        raters: How many are asked; 1 for `label`, 0 for all.
        rng: Address of their words.
    """
    if raters == 0:
        return share.to(label)
    if raters == 1:
        return label
    pair, rater = torch.arange(len(label))[:, None], torch.arange(raters)
    return (rng.uniform(pair, rater) < share[:, None]).to(label).mean(-1)
