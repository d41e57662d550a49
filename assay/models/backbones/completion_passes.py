"""Two ways in which a model of transformers computes completions: row by row, or by group.

Row by row, each row is a prompt with one completion. By group, a prompt is computed once for its
completions (`packed_groups`). Without a gradient both are divided into passes of bounded memory.
With one they are a single pass: the training loop has divided the batch (`models.micro_batch`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.engine import passes, progress
from assay.engine.passes import of_like_length
from assay.models.backbones.packed_groups import PackedGroups


def row_by_row(
    backbone: Any,
    prompt: Int[Tensor, "B P"],
    prompt_keep: Bool[Tensor, "B P"],
    completion: Int[Tensor, "B N T"],
    keep: Bool[Tensor, "B N T"],
) -> tuple[Float[Tensor, "n W"], Int[Tensor, "B N T1"]]:
    """Compute the hidden states of every row's kept tokens, each prompt with each completion.

    Args:
        backbone: Computes rows that are padded on the right, `rows(tokens, kept)`.
        prompt: See Backbone.hidden_states.
        prompt_keep: Likewise.
        completion: Likewise.
        keep: Likewise.

    Returns:
        See Backbone.hidden_states; a prompt's states stand once for each of its completions.
    """
    B, N, _ = keep.shape
    rows = torch.cat([prompt_keep[:, None].expand(B, N, -1), keep], -1).flatten(0, 1)  # [R,P+T]
    tokens = torch.cat([prompt[:, None].expand(B, N, -1), completion], -1).flatten(0, 1)
    length = rows.sum(-1)
    S = max(1, int(length.max())) if len(length) else 1
    # kept tokens first, in their order
    order = (~rows).long().argsort(dim=-1, stable=True)[:, :S]
    tokens, here = tokens.gather(1, order), torch.arange(S, device=rows.device) < length[:, None]
    tokens = torch.where(here, tokens, tokens[:, :1])
    if torch.is_grad_enabled():
        packed = backbone.rows(tokens, here)[here]
    else:
        packed = backbone.like.new_zeros(0, backbone.width)
        first = length.cumsum(0) - length
        for some in progress.over(of_like_length(length.tolist()), "forward passes", "passes"):
            i = torch.tensor(some, device=rows.device)
            wide = int(length[i].max())
            kept = here[i, :wide]
            to = (first[i][:, None] + torch.arange(wide, device=rows.device))[kept]
            found = backbone.rows(tokens[i, :wide], kept)[kept]
            if not len(packed):  # the first pass says how wide its states are, see `activations`
                packed = found.new_zeros(int(length.sum()), found.shape[-1])
            packed[to] = found
    before = (length.cumsum(0) - length).view(B, N, 1) + prompt_keep.sum(-1).view(B, 1, 1) - 1
    done = torch.cat([keep.new_zeros(B, N, 1), keep], -1).cumsum(-1)
    return packed, before + done


def by_group(
    backbone: Any,
    prompt: Int[Tensor, "B P"],
    prompt_keep: Bool[Tensor, "B P"],
    completion: Int[Tensor, "B N T"],
    keep: Bool[Tensor, "B N T"],
) -> tuple[Float[Tensor, "n W"], Int[Tensor, "B N T1"]]:
    """Compute the same, each prompt once for all of its completions.

    Args:
        backbone: Computes a packed row, `groups(tokens, groups)`.
        prompt: See Backbone.hidden_states.
        prompt_keep: Likewise.
        completion: Likewise.
        keep: Likewise.

    Returns:
        See Backbone.hidden_states. A prompt's states stand once a pass.
    """
    B, N, T = keep.shape
    found, before, n = [], prompt.new_zeros(B, N, T + 1), 0
    size = 0 if torch.is_grad_enabled() else passes.TOKENS
    asked = prompt_keep.sum(-1)
    order = asked.argsort(stable=True) if size else torch.arange(B, device=asked.device)
    parts = list(pieces(asked[order].tolist(), keep.sum(-1)[order].tolist(), size))
    going = parts if size == 0 else progress.over(parts, "forward passes", "passes")
    for some, among in going:
        rows = order[some]
        asks, kept = prompt_keep[rows], keep[rows, among]
        # columns that nothing of this pass has are left out
        wide = asks.any(0)
        long = int(kept.any(0).any(0).nonzero().max()) + 1 if bool(kept.any()) else 0
        groups = PackedGroups(asks[:, wide], kept[..., :long])
        tokens = groups.packed(prompt[rows][:, wide], completion[rows, among, :long])
        found.append(backbone.groups(tokens, groups))
        last = groups.before[..., -1:].expand(-1, -1, T - long)
        before[rows, among] = torch.cat([groups.before, last], -1) + n
        n += len(tokens)
    return torch.cat(found) if found else backbone.like.new_zeros(0, backbone.width), before


def pieces(
    prompts: list[int], completions: list[list[int]], size: int
) -> Iterator[tuple[slice, slice]]:
    """Divide groups into passes of at most `size` tokens, in their order.

    A group that is larger is divided among its completions, its prompt computed again for each
    part; a prompt with one completion is one pass, however long. Attention pads the prompts of a
    pass to the longest of them: padded, too, they are at most `size` tokens.

    Args:
        prompts: Tokens of each prompt, B numbers.
        completions: Tokens of its completions, B lists of N.
        size: Tokens of a pass, at most; 0 for one pass.

    Yields:
        The prompts of a pass, and which of their completions.

    Example:
        >>> list(pieces([4, 4, 4], [[2, 2]] * 3, 16))
        [(slice(0, 2, None), slice(0, 2, None)), (slice(2, 3, None), slice(0, 2, None))]
    """
    if not prompts:
        return
    n = len(completions[0])
    if not size:
        yield slice(0, len(prompts)), slice(0, n)
        return
    first, held, longest = 0, 0, 0
    for b, (ask, own) in enumerate(zip(prompts, completions, strict=True)):
        tokens = ask + sum(own)
        longest = max(longest, ask)
        if b > first and (held + tokens > size or (b + 1 - first) * longest > size):
            yield slice(first, b), slice(0, n)
            first, held, longest = b, 0, ask
        held += tokens
        if tokens > size:
            yield from ((slice(b, b + 1), part) for part in _parts(ask, own, size))
            first, held, longest = b + 1, 0, 0
    if first < len(prompts):
        yield slice(first, len(prompts)), slice(0, n)


def _parts(ask: int, own: list[int], size: int) -> Iterator[slice]:
    first, held = 0, ask
    for i, tokens in enumerate(own):
        if held + tokens > size and i > first:
            yield slice(first, i)
            first, held = i, ask
        held += tokens
    yield slice(first, len(own))
