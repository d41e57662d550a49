"""Scores of a classifier on a decoder, a prompt computed once for all of its completions.

A pair's two completions, and a policy's many, follow the same prompt. Where the decoder's attention
can be chosen (`models.backbones.shared_pass`), they are scored as packed groups: the score is the
head's on each completion's last token, which is what the model's own forward pass gives, and that
is compared before it is relied on.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.models.backbones import in_step
from assay.models.backbones.adapter_config import SUPPORTED
from assay.models.backbones.body import Body
from assay.models.backbones.in_step import with_ends
from assay.rewards.row_tokens import Encoded, batched

# whether a model's score is its head's on packed groups; a Body here would keep its model alive
_shares: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def packed_scores(model: Any, rows: Sequence[Encoded], pad: int) -> Float[Tensor, "R"] | None:
    """Score rows with one label, differentiably; None where they are to be scored row by row.

    Args:
        model: A sequence classifier, with adapters or without.
        rows: The rows.
        pad: The id of the padding token. A model looks for a row's end by it.
    """
    inner = _plain(model)
    if inner is None or not rows:
        return None
    ends = {pad, getattr(inner.config.get_text_config(), "pad_token_id", None)}
    if any(r.start == 0 or r.ids[-1] in ends for r in rows):
        return None
    body = body_of(inner)
    if body is None:
        return None
    *given, row, place = grouped(rows)
    packed, before = body.hidden_states(*(t.to(body.like.device) for t in given))
    last = packed[before[row, place, -1]]
    with_ends(body)
    out: Tensor = inner.score(last.to(inner.score.weight.dtype))
    return out[:, 0]


def shares_prompts(model: Any) -> bool:
    """Whether a model scores a prompt's completions with the prompt computed once."""
    inner = _plain(model)
    return inner is not None and body_of(inner) is not None


def _plain(model: Any) -> Any:
    """The model whose layers are computed; None where an adapter is not in its layers alone."""
    if not hasattr(model, "get_base_model"):
        return model
    for config in model.peft_config.values():
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        if kind not in SUPPORTED or getattr(config, "alora_invocation_tokens", None):
            return None
    return model.get_base_model()


def by_prompt(rows: Sequence[Encoded], tokens: int) -> list[list[int]]:
    """Divide rows into passes of at most so many tokens, those of one prompt beside one another.

    Args:
        rows: The rows.
        tokens: Of a pass, at most, each row counted whole; a longer row is one pass.

    Returns:
        The rows of each pass, by index.

    Example:
        >>> a, b = Encoded((1, 2, 3), 1, 0), Encoded((7, 2, 3), 1, 0)
        >>> by_prompt([a, b, a, b], 6)
        [[0, 2], [1, 3]]
    """
    first: dict[tuple[int, ...], int] = {}
    order = [first.setdefault(r.ids[: r.start], i) for i, r in enumerate(rows)]
    out: list[list[int]] = []
    held = 0
    for i in sorted(range(len(rows)), key=lambda i: order[i]):
        held += len(rows[i].ids)
        if not out or held > tokens:
            out.append([])
            held = len(rows[i].ids)
        out[-1].append(i)
    return out


def grouped(
    rows: Sequence[Encoded],
) -> tuple[
    Int[Tensor, "B P"],
    Bool[Tensor, "B P"],
    Int[Tensor, "B N T"],
    Bool[Tensor, "B N T"],
    Int[Tensor, "R"],
    Int[Tensor, "R"],
]:
    """Lay rows out by prompt.

    Args:
        rows: The rows; those whose tokens before the completion are the same are one group.

    Returns:
        (prompts padded on the left, their mask, completions, their mask, the group of each row, its
        place in it).
    """
    groups: dict[tuple[int, ...], int] = {}
    row = [groups.setdefault(r.ids[: r.start], len(groups)) for r in rows]
    count = [0] * len(groups)
    place = []
    for b in row:
        place.append(count[b])
        count[b] += 1
    P, N = max(map(len, groups)), max(count)
    T = max(len(r.ids) - r.start for r in rows)
    prompt, completion = torch.zeros(len(groups), P).long(), torch.zeros(len(groups), N, T).long()
    ask, keep = prompt.bool(), completion.bool()
    for ids, b in groups.items():
        prompt[b, P - len(ids) :], ask[b, P - len(ids) :] = torch.tensor(ids), True
    for r, b, n in zip(rows, row, place, strict=True):
        t = len(r.ids) - r.start
        completion[b, n, :t], keep[b, n, :t] = torch.tensor(r.ids[r.start :]).long(), True
    return prompt, ask, completion, keep, torch.tensor(row), torch.tensor(place)


def body_of(model: Any) -> Body | None:
    """Return a classifier's layers, if its score is its head's on a row's last token.

    Args:
        model: A sequence classifier.

    Returns:
        None where it is no decoder, has another head, or does not share prompts.
    """
    divided = in_step.body_of(model)
    if model not in _shares:
        plain = type(getattr(model, "score", None)) is nn.Linear
        _shares[model] = plain and _same(model, divided or Body(model))
    if not _shares[model]:
        return None
    body: Body = divided or Body(model)
    body.plain_because = ""  # as `_same` has found
    return body


def _same(model: Any, body: Body) -> bool:
    """Compare the scores of two small groups, packed and by the model's own forward pass."""
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    if pad is None or body.plain_because:
        return False
    words = [i for i in range(3, 16) if i != pad]
    rows = [Encoded(tuple(words[a:b]), 3, 0) for a, b in ((0, 5), (0, 9), (2, 6), (2, 12))]
    ids, mask, _ = batched(rows, pad, segments=False)
    with torch.no_grad():
        given = {"input_ids": ids, "attention_mask": mask}
        own = body.own_pass(**{k: t.to(body.like.device) for k, t in given.items()})
        *of_groups, row, place = grouped(rows)
        packed, before = body.hidden_states(*(t.to(body.like.device) for t in of_groups))
        with_ends(body)
        mine = model.score(packed[before[row, place, -1]].to(model.score.weight.dtype))
    worst = float((own.logits - mine).float().abs().max())
    near = 5e-2 if body.half_precision else 1e-3
    return worst <= near * max(1.0, float(own.logits.float().abs().max()))
