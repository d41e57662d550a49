"""Forward passes of transformers models over rows of tokens, and in which order rows are taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.engine import progress
from assay.engine.passes import TOKENS, of_like_length
from assay.models.backbones.in_step import body_of
from assay.models.backbones.layer_progress import by_layer
from assay.rewards.encoding import Template
from assay.rewards.packed_rows import by_prompt, packed_scores
from assay.rewards.row_tokens import Encoded, batched


def forward(
    model: nn.Module, rows: Sequence[Encoded], pad: int, *, segments: bool
) -> tuple[Any, Tensor]:
    """Run a model on some rows, padded on the right, on the model's device.

    Args:
        model: A transformers model.
        rows: The rows.
        pad: The id of the padding token.
        segments: Whether the model wants token type ids.

    Returns:
        (the model's output, the mask of the tokens).
    """
    ids, mask, kinds = batched(rows, pad, segments=segments)
    where = next(model.parameters()).device
    ids, mask = ids.to(where), mask.to(where)
    extra = {} if kinds is None else {"token_type_ids": kinds.to(where)}
    divided = body_of(model)
    compute = model if divided is None else divided.own_pass
    with by_layer(model):
        return compute(input_ids=ids, attention_mask=mask.long(), **extra), mask


def logits(
    model: nn.Module, rows: Sequence[Encoded], pad: int, template: Template
) -> Float[Tensor, "R"]:
    """Score rows by a classifier with one label.

    Args:
        model: The classifier, with adapters or without.
        rows: The rows.
        pad: The id of the padding token.
        template: How they were made.
    """
    packed = None if template.segments else packed_scores(model, rows, pad)
    if packed is not None:
        return packed
    # rows that were to share their prompt may be of any lengths
    lengths = [len(r.ids) for r in rows]
    parts = [list(range(len(rows)))] if torch.is_grad_enabled() else of_like_length(lengths)
    found = [
        forward(model, [rows[i] for i in some], pad, segments=template.segments)[0].logits[:, 0]
        for some in parts
    ]
    order = torch.tensor([i for some in parts for i in some])
    return torch.cat(found)[order.argsort().to(found[0].device)]


def batches(rows: Sequence[Encoded], what: str, *, together: bool = False) -> Iterator[list[int]]:
    """Yield rows of similar length, by index, within a stage that says `what`.

    Args:
        rows: The rows.
        what: What is done with them.
        together: Rows of one prompt instead, for models that compute it once.
    """
    like = of_like_length([len(r.ids) for r in rows]) if not together else by_prompt(rows, TOKENS)
    with progress.stage(what, len(rows), "texts") as going:
        for some in like:
            going.upcoming(len(some))
            yield some
            going.advance(len(some))
