"""x @ wᵀ, the one operation that a small step spends its time in.

On a CPU, torch multiplies float32 matrices by MKL, which gives half of its speed on processors that are not Intel's;
oneDNN, also a part of torch, does not. It is asked through the operator that `torch.compile` emits for linear layers.
"""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

try:
    _ONEDNN: Any = torch.ops.mkldnn._linear_pointwise
except AttributeError:  # a torch built without it
    _ONEDNN = None


def product(x: Float[Tensor, "n k"], w: Float[Tensor, "o k"]) -> Float[Tensor, "n o"]:
    """x @ wᵀ, differentiable, twice too."""
    if not _known(x):
        return x @ w.mT
    return _Product.apply(x, w)


def plus(x: Float[Tensor, "n k"], w: Float[Tensor, "o k"], rest: Float[Tensor, "n o"]) -> Float[Tensor, "n o"]:
    """rest + x @ wᵀ, in one pass where nobody asks for a gradient."""
    if torch.is_grad_enabled() or not _known(x):
        return rest + product(x, w)
    return _ONEDNN.binary(x, rest, w, None, "add")


def gated(x: Float[Tensor, "n k"], gate: Float[Tensor, "o k"], up: Float[Tensor, "o k"]) -> Float[Tensor, "n o"]:
    """silu(x @ gateᵀ)·(x @ upᵀ) (Shazeer, 2020), in two passes where nobody asks for a gradient."""
    if torch.is_grad_enabled() or not _known(x):
        return F.silu(product(x, gate)) * product(x, up)
    return _ONEDNN.binary(x, _ONEDNN(x, gate, None, "swish", [], ""), up, None, "mul")


def _known(x: Tensor) -> bool:
    return _ONEDNN is not None and x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0


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
