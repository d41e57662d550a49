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


def product(x: Float[Tensor, "*M n k"], w: Float[Tensor, "*M o k"]) -> Float[Tensor, "*M n o"]:
    """x @ wᵀ, M times where there is a member axis; differentiable, twice too."""
    if _ONEDNN is None or x.dtype != torch.float32 or x.device.type != "cpu" or x.numel() == 0:
        return x @ w.mT
    return _Product.apply(x, w)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        if x.dim() == 2:
            return _ONEDNN(x, w, None, "none", [], "")
        return torch.stack([_ONEDNN(x[m], w[m], None, "none", [], "") for m in range(len(x))])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, w = ctx.saved_tensors
        return (product(g, w.mT) if ctx.needs_input_grad[0] else None,
                product(g.mT, x.mT) if ctx.needs_input_grad[1] else None)
