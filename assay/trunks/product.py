"""x @ wᵀ, the one operation that a small step spends its time in.

On a CPU, torch multiplies float32 matrices by MKL, which gives half of its speed on processors that are not Intel's;
oneDNN, also a part of torch, does not. It is asked through the operator that `torch.compile` emits for linear layers.
"""
from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

try:
    _ONEDNN: Any = torch.ops.mkldnn._linear_pointwise
except AttributeError:  # a torch built without it
    _ONEDNN = None


def product(x: Float[Tensor, "n k"], w: Float[Tensor, "o k"]) -> Float[Tensor, "n o"]:
    """x @ wᵀ, differentiable, twice too."""
    if _ONEDNN is None or x.dtype != torch.float32 or x.device.type != "cpu" or x.numel() == 0:
        return x @ w.mT
    return _Product.apply(x, w)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return _ONEDNN(x, w, None, "none", [], "")

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, w = ctx.saved_tensors
        return (product(g, w.mT) if ctx.needs_input_grad[0] else None,
                product(g.mT, x.mT) if ctx.needs_input_grad[1] else None)
