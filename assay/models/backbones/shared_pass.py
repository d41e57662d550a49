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
_KNOWN = {"position_ids", "cache_position"}  # tensors that layers pass on and attention ignores
_now = threading.local()
_called: list[Any] = []  # what transformers calls, see `opaque_attention`
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

    ALL_ATTENTION_FUNCTIONS.register(NAME, _called[0] if _called else _attention)
    config: Any = model.config
    with _locks.setdefault(model, threading.RLock()):
        before = getattr(_now, "attention", None)
        was = [(c, c._attn_implementation) for c in _configurations(config)]
        _now.attention, config._attn_implementation = attention, NAME
        try:
            yield
        finally:
            _now.attention = before
            for c, name in was:
                c._attn_implementation = name


def opaque_attention() -> None:
    """Let compiled layers call the attention of a pass without looking into it, from here on."""
    if not _called:
        _called.append(torch.compiler.disable(_attention))


def _configurations(config: Any) -> Iterator[Any]:
    """Yield a configuration and, after it, its parts': what names its attention names theirs."""
    yield config
    for name in getattr(config, "sub_configs", ()):
        if getattr(config, name, None) is not None:
            yield from _configurations(getattr(config, name))


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
    also = [k for k, v in rest.items() if isinstance(v, Tensor) and k not in _KNOWN]
    if attention_mask is not None or also:  # sinks, biases, a choice among keys
        raise NotImplementedError(f"attention takes {', '.join(also) or 'a mask of its own'}")
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
    right, off = plain[at].flatten(0, -2), (plain[at] - shared[to]).flatten(0, -2)
    worst, near = float(off.abs().max()), 5e-2 if backbone.half_precision else 1e-3
    # of most units too: in large models a few are a hundred times the others
    typical = float((off.norm(dim=0) / right.norm(dim=0).clamp(min=1e-9)).median())
    if not (worst <= near * max(1.0, float(right.abs().max())) and typical <= near):
        return f"a packed pass of it differs by {worst:.2g}"
    if not windows:
        return "its layers do not let attention be chosen"
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
