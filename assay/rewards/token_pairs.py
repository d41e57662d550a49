"""Encoded pairs as the library's Pairs: prompts padded on the left, completions on the right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Pairs, Prompts
from assay.rewards.row_tokens import Encoded


def token_pairs(
    chosen: Sequence[Encoded],
    rejected: Sequence[Encoded],
    p: Float[Tensor, "B"],
    margin: Float[Tensor, "B"],
) -> Pairs:
    """Pad pairs to one batch.

    Args:
        chosen: The preferred completions, each after its prompt.
        rejected: The others, after the same prompts.
        p: The probability that the first is preferred.
        margin: What the score difference must exceed.

    Returns:
        The pairs. Their log-probabilities are NaN: it is not known which policy wrote them.
    """
    rows, B = list(zip(chosen, rejected, strict=True)), len(chosen)
    P = max(a.start for a in chosen)
    T = max(len(x.ids) - x.start for two in rows for x in two)
    tokens, asked = torch.zeros(B, P, dtype=torch.int64), torch.zeros(B, P, dtype=torch.bool)
    action = torch.zeros(B, 2, T, dtype=torch.int64)
    mask = torch.zeros(B, 2, T, dtype=torch.bool)
    for b, two in enumerate(rows):
        start = P - two[0].start
        tokens[b, start:] = torch.tensor(two[0].ids[: two[0].start])
        asked[b, start:] = True
        for n, x in enumerate(two):
            said = x.ids[x.start :]
            action[b, n, : len(said)] = torch.tensor(said, dtype=torch.int64)
            mask[b, n, : len(said)] = True
    return Pairs(
        Prompts(tokens, asked, torch.arange(B)),
        action,
        mask,
        torch.zeros_like(mask),
        torch.full(mask.shape, torch.nan).masked_fill(~mask, 0.0),
        torch.ones(B, 2, dtype=torch.bool),
        p=p.float(),
        margin=margin.float(),
    )
