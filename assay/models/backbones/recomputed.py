"""Layers that save their inputs alone and are computed again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from assay.models.backbones.layer_progress import layers_of


@contextmanager
def computed_again(
    model: nn.Module,
    recall: Callable[[], None],
    around: Callable[[], AbstractContextManager[Any]],
) -> Iterator[None]:
    """Let layers save their inputs alone, within the block.

    transformers' own switch asks for training mode, in which dropout is on. And it does not call
    `recall`, which turns an adapter on again that another has replaced before the backward pass.

    Args:
        model: A transformers model.
        recall: Called before a layer is computed, the second time too.
        around: What holds while a layer is computed, the second time too.
    """
    layers = layers_of(model)
    own = [layer.__dict__.get("forward") for layer in layers]  # accelerate's, where it moves layers
    for layer in layers:
        layer.forward = functools.partial(
            checkpoint,
            _recalled(recall, around, layer.forward),
            use_reentrant=False,
            preserve_rng_state=False,
        )
    try:
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            del layer.forward  # the class's own is seen again
            if forward is not None:
                layer.forward = forward


def _recalled(
    recall: Callable[[], None],
    around: Callable[[], AbstractContextManager[Any]],
    forward: Callable[..., Any],
) -> Callable[..., Any]:
    def run(*given: Any, **named: Any) -> Any:
        recall()
        with around():
            return forward(*given, **named)

    return run
