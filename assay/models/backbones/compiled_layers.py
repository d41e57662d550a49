"""Decoder layers compiled by torch.compile: one code for all layers of a kind.

The layer is compiled, not the model: thirty layers are one compilation, and what a pass lays around
them (progress, recomputation, attention over packed groups) stays as it is. Attention is a call
between two compiled parts. Sizes are symbols, so that the next batch is not compiled anew.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from assay.engine.compiling import count_compiling
from assay.models.backbones.layer_progress import layers_of
from assay.models.backbones.shared_pass import opaque_attention

# torch gives a function up after eight kinds of input, and computes it uncompiled. Here there are
# kinds: with a gradient and without, packed and in rows, each adapter on, each window.
_KINDS = 64


@contextmanager
def compiled_layers(model: nn.Module) -> Iterator[None]:
    """Let a model's layers compute by compiled code, in this block.

    Args:
        model: A transformers model. A layer whose `forward` somebody has replaced stays as it is.
    """
    import torch._dynamo.config
    import torch.fx.experimental._config

    layers = [x for x in layers_of(model) if "forward" not in x.__dict__]
    for layer in layers:
        layer.__dict__["forward"] = functools.partial(_compiled(layer.__class__), layer)
    try:
        with (
            torch._dynamo.config.patch(recompile_limit=_KINDS),
            # two sizes that happen to be equal are two sizes
            torch.fx.experimental._config.patch(use_duck_shape=False),  # type: ignore[attr-defined]
        ):
            yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


@functools.cache
def _compiled(kind: Any) -> Callable[..., Any]:
    """A kind of layer's forward pass, compiled at its first call."""
    count_compiling()
    opaque_attention()
    return torch.compile(kind.forward, dynamic=True)
