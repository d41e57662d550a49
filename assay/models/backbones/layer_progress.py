"""A forward pass, and the backward pass after it, announced layer by layer.

One pass of a real model on a CPU takes many seconds, in which no stage would move.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from assay.engine import progress
from assay.engine.progress import Stage

_FORWARD = 1 / 3  # of a pass with a gradient: the backward pass costs twice the forward pass


def layers_of(model: nn.Module) -> list[Any]:
    """The decoder layers of a transformers model."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]


@contextmanager
def by_layer(model: nn.Module) -> Iterator[None]:
    """Move the stage that is under way within its next piece as layers are computed.

    Args:
        model: A transformers model; it is looked at only while a stage is shown.
    """
    stage = progress.current()
    if stage is None:
        yield
        return
    found = layers_of(model)
    moved = _Moved(stage, max(1, len(found)))
    hooks = [layer.register_forward_hook(moved.forward) for layer in found]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Moved:
    """Counts the layers of one pass, forward and backward."""

    def __init__(self, stage: Stage, layers: int):
        self.stage, self.layers = stage, layers
        self.there, self.back = 0, 0

    def forward(self, layer: nn.Module, given: Any, out: Any) -> None:
        self.there += 1
        hidden = out[0] if isinstance(out, tuple) else out
        trained = isinstance(hidden, Tensor) and hidden.requires_grad and torch.is_grad_enabled()
        self.stage.within(self.there / self.layers * (_FORWARD if trained else 1.0))
        if trained:
            hidden.register_hook(self.backward)

    def backward(self, gradient: Tensor) -> None:
        self.back += 1
        self.stage.within(_FORWARD + (1 - _FORWARD) * self.back / self.layers)
