"""Pairs of whole completions, the best of a prompt against its worst; and labels by a coin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from assay.core import Pairs, Policy, Prompts, Rng, Samples
from assay.loops.missing import scored_only, scores_and_missing
from assay.loops.preference_rounds import paired_up
from assay.loops.statistics import completion_stats


def whole_pairs(
    policy: Policy, prompts: Prompts, n: int, score: Callable[[Samples], Tensor], rng: Rng
) -> tuple[Pairs | None, dict[str, float]]:
    """Sample, and pair the best completion of each prompt with the worst where rewards differ.

    Args:
        policy: Completes the prompts.
        prompts: B prompts.
        n: Completions of each.
        score: completions → reward `[B,N]`.
        rng: Address of the completions.

    Returns:
        The pairs, None where no prompt has two rewards, and what is to be said of the completions.
    """
    x = policy.sample(prompts, n, rng)
    r, missing = scores_and_missing(score, x)
    x = scored_only(x, missing)
    stats = completion_stats(x)
    top, low = r.masked_fill(~x.present, -torch.inf), r.masked_fill(~x.present, torch.inf)
    places = torch.stack([top.argmax(-1), low.argmin(-1)], -1)
    margin = (top.amax(-1) - low.amin(-1)).nan_to_num(neginf=0.0)
    rows = (margin > 0).nonzero()[:, 0]
    if not len(rows):
        return None, stats
    return paired_up(x, rows, places[rows], margin=margin[rows]), stats


def tossed(pairs: Pairs, rng: Rng) -> Pairs:
    """The same pairs, each with its label turned round by a coin."""
    coin = rng.uniform(torch.arange(len(pairs))).to(pairs.p.device) < 0.5
    return replace(pairs, p=torch.where(coin, 1 - pairs.p, pairs.p))
