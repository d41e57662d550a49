"""Inputs of a transformers model that are no token's embedding: rows of numbers, read in its place.

A row is named by an id beyond the model's own, so that packed groups, caches, adapters and
checkpointing carry it as they carry a token. The embedding layer is where the name becomes numbers:
what it returns for such an id is the row. A family may scale embeddings there or after it; a row is
made of what the layer returns, and so both come out right.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import InputError


def embedded(model: Any, ids: Int[Tensor, "*n"]) -> Float[Tensor, "*n W"]:
    """Return what the embedding layer of a transformers model makes of tokens, without gradient."""
    with torch.no_grad():
        out: Tensor = model.get_input_embeddings()(ids)
    return out


@contextmanager
def reading(model: Any, rows: Float[Tensor, "m W"]) -> Iterator[int]:
    """Let a model read row i where its tokens say V + i, in this block.

    No gradient flows into the rows.

    Args:
        model: A transformers model.
        rows: What is read.

    Yields:
        V, the first id that names a row.
    """
    layer = model.get_input_embeddings()
    first = int(layer.weight.shape[0])
    given: list[Tensor] = []

    def before(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        ids = inputs[0]
        given.append(ids)
        return (torch.where(ids < first, ids, 0), *inputs[1:])

    def after(_: Any, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        ids = given.pop()
        named = (ids - first).clamp(min=0)
        return torch.where((ids >= first)[..., None], rows.detach().to(out)[named], out)

    hooks = layer.register_forward_pre_hook(before), layer.register_forward_hook(after)
    try:
        yield first
    finally:
        for hook in hooks:
            hook.remove()


def check_reads(plain: Any) -> None:
    """Compare tokens with rows that are their embeddings, on a few of them.

    Args:
        plain: A Pretrained.

    Raises:
        InputError: Its weights are divided, or its layers read tokens besides their embeddings.
    """
    kind = plain.model.config.model_type
    if plain.division is not None:
        raise InputError(
            "soft thoughts are read in the embedding layer, and --fsdp divides its weights over "
            "processes; leave out --fsdp, or give --thoughts 0"
        )
    why = ""
    tokens = torch.arange(3, 8, device=plain.like.device)[None]
    keep = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        own = plain.rows(tokens, keep)
        try:
            with reading(plain.model, embedded(plain.model, tokens[0])) as first:
                mine = plain.rows(first + tokens - 3, keep)
            worst = float((own - mine).abs().max())
            if not worst <= 1e-3 * max(1.0, float(own.abs().max())):
                why = f"rows that are embeddings come out {worst:.2g} from their tokens"
        except (IndexError, RuntimeError) as e:
            why = f"a pass over rows ends in {type(e).__name__}"
    if why:
        raise InputError(
            f"a {kind} model reads tokens in more places than one ({why}), and a soft thought is "
            "none; use another family, or --thoughts 0"
        )
