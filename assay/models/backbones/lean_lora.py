"""LoRA beside a frozen weight, in as few passes over memory as it needs.

peft computes a layer's change, scales it and adds it: three passes over a result that is as large
as the layer's own, and more in the backward pass. Here the small product is added into the layer's
result. Where completions are drawn, the change is added to a copy of the weight once, and each
token is one product a layer in place of three.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.engine.passes import all_bytes
from assay.models.backbones.matmul import linear, product

# Of all memory, what weights with a change added may take. Not of what is free: with and without
# them sums differ in their last bits, and a run that goes on must draw as one that was not killed.
_SHARE = 16
_OWN = (nn.Parameter, Tensor)


def plain_layers(layers: Sequence[Any], name: str) -> list[Any]:
    """Those of peft's layers that are LoRA on a linear layer and nothing else.

    A layer of another kind, of rounded weights, with dropout, a bias of its own or a forward pass
    that somebody has replaced computes as peft has it.

    Args:
        layers: peft's layers.
        name: The adapter.
    """
    from peft.tuners.lora.layer import Linear

    def plain(layer: Any) -> bool:
        if type(layer) is not Linear or name not in layer.lora_A or name in layer.lora_variant:
            return False
        base, down, up = layer.base_layer, layer.lora_A[name], layer.lora_B[name]
        same = {w.dtype for w in (base.weight, down.weight, up.weight)}
        return (
            all(type(m) is nn.Linear and "forward" not in m.__dict__ for m in (base, down, up))
            and all(type(m.weight) in _OWN for m in (base, down, up))
            and len(same) == 1
            and same <= {torch.float32, torch.float64}
            and not base.weight.requires_grad
            and not (base.bias is not None and base.bias.requires_grad)
            and down.bias is None
            and up.bias is None
            and not layer.merged
            and "forward" not in layer.__dict__
            and not (layer.training and getattr(layer.lora_dropout[name], "p", 0.0))
        )

    return [layer for layer in layers if plain(layer)]


@contextmanager
def lean(
    layers: Sequence[Any], name: str | None, added: Mapping[Any, Tensor] | None = None
) -> Iterator[None]:
    """Let an adapter's layers compute so, in this block.

    Args:
        layers: peft's layers.
        name: The adapter that is on; None for none, and nothing changes.
        added: Weights with the adapter's change added, by layer; None to add it to the result.
    """
    some = [] if name is None else plain_layers(layers, name)
    for layer in some:
        whole = None if added is None else added.get(layer)
        layer.__dict__["forward"] = functools.partial(_forward, layer, str(name), whole)
    try:
        yield
    finally:
        for layer in some:
            layer.__dict__.pop("forward", None)


@torch.no_grad()
def with_change(layers: Sequence[Any], name: str | None) -> dict[Any, Tensor] | None:
    """Add an adapter's change to copies of its layers' weights.

    Args:
        layers: peft's layers.
        name: The adapter; None for none.

    Returns:
        The weights by layer; None where they would take more than a sixteenth of all memory.
    """
    some = [] if name is None else plain_layers(layers, name)
    if not some:
        return None
    size = sum(layer.base_layer.weight.nbytes for layer in some)
    if size * _SHARE > all_bytes(some[0].base_layer.weight.device):
        return None
    return {layer: torch.addmm(layer.base_layer.weight, *_matrices(layer, name)) for layer in some}


def _matrices(layer: Any, name: Any) -> tuple[Tensor, Tensor]:
    """B·s and A, whose product is the change."""
    return layer.lora_B[name].weight * layer.scaling[name], layer.lora_A[name].weight


def _forward(
    layer: Any, name: str, whole: Tensor | None, x: Tensor, *more: Any, **named: Any
) -> Any:
    if more or named or x.dtype != layer.base_layer.weight.dtype:
        return type(layer).forward(layer, x, *more, **named)
    base = layer.base_layer
    if whole is not None:
        return linear(x, whole, base.bias)
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    rows = x.flatten(0, -2)
    out: Tensor = _Lora.apply(rows, base.weight, base.bias, down, up, layer.scaling[name])
    return out.unflatten(0, x.shape[:-1])


class _Lora(torch.autograd.Function):
    """x·Wᵀ + b + s·(x·Aᵀ)·Bᵀ; W and b get no gradient. Differentiable twice.

    Source: Hu et al., 2021.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "n k"],
        w: Float[Tensor, "o k"],
        bias: Float[Tensor, "o"] | None,
        a: Float[Tensor, "r k"],
        b: Float[Tensor, "o r"],
        scale: float,
    ) -> Float[Tensor, "n o"]:
        ctx.save_for_backward(x, w, a, b)
        ctx.scale = scale
        return linear(x, w, bias).addmm_(x @ a.mT, b.mT, alpha=scale)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w, a, b = ctx.saved_tensors
        low = (g @ b) * ctx.scale  # [n,r]
        to_x = to_a = to_b = None
        if ctx.needs_input_grad[0]:
            to_x = product(g, w.mT).addmm_(low, a)
        if ctx.needs_input_grad[3]:
            to_a = low.mT @ x
        if ctx.needs_input_grad[4]:
            to_b = (g.mT @ (x @ a.mT)) * ctx.scale
        return to_x, None, None, to_a, to_b, None
