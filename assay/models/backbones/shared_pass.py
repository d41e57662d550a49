"""One forward pass over packed groups, by any family of transformers that lets attention be chosen.

transformers asks, in each layer, for the attention function that a configuration names. Within a
pass it names ours (`NAME`), which hands queries and keys to the pass's `PackedGroups`. A family
whose attention is not chosen in this way, or that has a mask of its own (chunks, sinks, recurrent
layers), would give other numbers: `reason_against` reads the configuration and compares both passes
on two small groups, and such a family is computed the plain way.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from assay.models.backbones.completion_passes import by_group, row_by_row

Attention = Callable[..., Tensor]  # see PackedGroups: packed queries, keys, values → outputs
NAME = "assay_packed_groups"
_KINDS = {"full_attention", "sliding_attention"}
_now = threading.local()
# a model's configuration is changed during a pass: two threads may not do so at once
_locks: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()


@contextmanager
def attending(model: nn.Module, attention: Attention) -> Iterator[None]:
    """Let a model's layers attend in another way, in this block.

    Args:
        model: A transformers model, given one packed row.
        attention: Called once a layer, in the layers' order, as PackedGroups is.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
    config: Any = model.config
    with _locks.setdefault(model, threading.RLock()):
        before, was = getattr(_now, "attention", None), config._attn_implementation
        _now.attention, config._attn_implementation = attention, NAME
        try:
            yield
        finally:
            _now.attention, config._attn_implementation = before, was


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers asks for it: `[1,H,n,d]` in, `[1,n,H,e]` out."""
    attention = getattr(_now, "attention", None)
    if attention is None:
        raise RuntimeError(f"{NAME} is called outside of a pass over packed groups")
    getattr(_now, "windows", []).append(sliding_window)
    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out: Tensor = attention(q, k, v, scale=scale, window=sliding_window, softcap=softcap)
    return out[None], None


def reason_against(backbone: Any) -> str:
    """Say why a model's prompts cannot be computed once for their completions; "" where they can.

    Args:
        backbone: A Pretrained; both of its passes are compared on two small groups.

    Returns:
        A part of a sentence: "its layers are of kind chunked_attention".
    """
    config = backbone.model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ()) - _KINDS
    if kinds or getattr(config, "attention_chunk_size", None):
        return f"its layers are of kind {', '.join(sorted(kinds)) or 'chunked_attention'}"
    given = _probe(backbone.like.device, backbone.model.get_input_embeddings().num_embeddings)
    _now.windows = []
    try:
        with torch.no_grad():
            plain, at = row_by_row(backbone, *given)
            shared, to = by_group(backbone, *given)
    except Exception as e:  # whatever a family of somebody else's raises, the plain way is open
        return f"a packed pass of it ends in {type(e).__name__}"
    finally:
        windows = _now.windows
        del _now.windows
    worst = float((plain[at] - shared[to]).abs().max())
    near = 5e-2 if backbone.half_precision else 1e-3
    if not worst <= near * max(1.0, float(plain[at].abs().max())):
        return f"a packed pass of it differs by {worst:.2g}"
    expected = _windows(config)
    if expected is not None and sorted(map(str, windows)) != sorted(map(str, expected)):
        return "its layers do not say how far each sees"
    return ""


def _windows(config: Any) -> list[int | None] | None:
    """How far each layer sees by the configuration; None where it does not say for each."""
    kinds, window = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
    if kinds:
        return [window if kind == "sliding_attention" else None for kind in kinds]
    return [window] * config.num_hidden_layers if window else None


def _probe(device: torch.device, vocabulary: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two prompts, padded on the left, with two completions each that end early."""
    prompt = torch.arange(3, 11, device=device).view(2, 4) % vocabulary
    completion = torch.arange(5, 17, device=device).view(2, 2, 3) % vocabulary
    ask = torch.ones_like(prompt, dtype=torch.bool)
    ask[1, :2] = False
    keep = torch.ones_like(completion, dtype=torch.bool)
    keep[0, 1, 2:] = False
    keep[1, 0, 1:] = False
    return prompt, ask, completion, keep
