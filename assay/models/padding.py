"""Pads token ids: prompts on the left, completions on the right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.errors import InputError


def padded_prompts(
    ids: Sequence[Sequence[int]],
    *,
    pad: int,
    decode: Callable[[list[int]], str] | None,
    row: Int[Tensor, "B"] | None = None,
) -> Prompts:
    """Pad prompts on the left, so that a completion begins right after the last column.

    Args:
        ids: Each prompt's tokens.
        pad: Fills the places that the mask leaves out; nothing reads it.
        decode: Token ids to text.
        row: Which of the task's prompts each is; 0 … B−1 by default.
    """
    P = max((len(i) for i in ids), default=1)
    tokens = torch.full((len(ids), P), pad)
    mask = torch.zeros(len(ids), P, dtype=torch.bool)
    for b, i in enumerate(ids):
        tokens[b, P - len(i) :] = torch.tensor(i, dtype=torch.int64)
        mask[b, P - len(i) :] = True
    return Prompts(tokens, mask, torch.arange(len(ids)) if row is None else row, decode=decode)


def padded_completions(
    prompts: Prompts,
    ids: Sequence[Sequence[Sequence[int]]],
    *,
    pad: int,
    dtype: torch.dtype = torch.float32,
    own: Sequence[Sequence[Sequence[bool]]] | None = None,
) -> Samples:
    """Pad completions on the right; each is ended and its `logp` is NaN: it is not known.

    Args:
        prompts: B prompts.
        ids: The tokens of each completion of each prompt. Where a prompt has fewer completions than
            another, the missing ones are absent.
        pad: Fills the places that the mask leaves out; nothing reads it.
        dtype: Of `logp`.
        own: Whether the policy decides each token; the others are given. All are its own by
            default.

    Raises:
        InputError: There is not one list of completions for each prompt.
    """
    if len(ids) != len(prompts):
        raise InputError(
            f"{len(prompts)} prompts and completions of {len(ids)}: give one list of completions "
            "for each prompt"
        )
    N = max((len(row) for row in ids), default=0)
    T = max((len(a) for row in ids for a in row), default=1) or 1
    action = torch.full((len(ids), N, T), pad, dtype=torch.int64)
    mask = torch.zeros(len(ids), N, T, dtype=torch.bool)
    for b, row in enumerate(ids):
        for n, a in enumerate(row):
            action[b, n, : len(a)] = torch.tensor(a, dtype=torch.int64)
            mask[b, n, : len(a)] = True
    given = torch.zeros_like(mask)
    for b, row in enumerate(own or ()):
        for n, mine in enumerate(row):
            given[b, n, : len(mine)] = ~torch.tensor(mine, dtype=torch.bool)
    mask &= ~given
    logp = torch.where(mask, torch.nan, torch.zeros((), dtype=dtype))
    samples = Samples(prompts, action, mask, given, logp, mask.any(-1))
    return samples.to(prompts.tokens.device)
