"""x @ wᵀ, the one operation that a small model's step spends its time in.

On a CPU, torch multiplies float32 matrices by MKL, which gives half of its speed on processors that
are not Intel's; oneDNN, also a part of torch, does not. It is called through the operator that
`torch.compile` emits for linear layers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ROWS = 256  # below, oneDNN is no faster, and every new number of rows costs milliseconds
_ONEDNN: Any = None  # macOS on ARM: torch is built without it
if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
    _ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def roomy(n: int) -> int:
    """Round n up, by a sixteenth at most from 256 on, so that few sizes occur.

    oneDNN compiles a kernel for every new size, which takes longer than the product itself, and
    memory of a known size is found again.
    """
    step = max(16, 1 << max(0, (n // 16).bit_length() - 1))
    return -(-n // step) * step


def product(x: Float[Tensor, "n k"], w: Float[Tensor, "o k"]) -> Float[Tensor, "n o"]:
    """Compute x @ wᵀ, differentiable twice."""
    if not _known(x):
        return x @ w.mT
    return _Product.apply(x, w)


def linear(
    x: Float[Tensor, "*n k"], w: Float[Tensor, "o k"], bias: Float[Tensor, "o"] | None = None
) -> Float[Tensor, "*n o"]:
    """Compute x @ wᵀ + bias, as torch's own `linear` does, differentiable twice.

    Args:
        x: Rows, `[…,k]`.
        w: A weight, `[o,k]`.
        bias: What is added, `[o]`; None for nothing.
    """
    few = x.numel() < ROWS * x.shape[-1] or torch.is_autocast_enabled(x.device.type)
    if few or not _known(x) or w.dtype != x.dtype:
        return F.linear(x, w, bias)
    out = product(x.flatten(0, -2), w).unflatten(0, x.shape[:-1])
    return out if bias is None else out + bias


@contextmanager
def linears(model: nn.Module) -> Iterator[None]:
    """Let a model's linear layers multiply by `linear`, in this block.

    A layer whose `forward` somebody has replaced stays as it is, and so does a layer of any other
    type, or with weights of any other, such as rounded ones: oneDNN would read what they store.
    """
    found = [
        m
        for m in model.modules()
        if type(m) is nn.Linear
        and type(m.weight) in (nn.Parameter, Tensor)
        and "forward" not in m.__dict__
    ]
    for m in found:
        m.__dict__["forward"] = functools.partial(_forward, m)
    try:
        yield
    finally:
        for m in found:
            m.__dict__.pop("forward", None)  # another thread may have been as fast


def _forward(module: nn.Linear, x: Tensor) -> Tensor:
    return linear(x, module.weight, module.bias)


def plus(
    x: Float[Tensor, "n k"], w: Float[Tensor, "o k"], rest: Float[Tensor, "n o"]
) -> Float[Tensor, "n o"]:
    """Compute rest + x @ wᵀ, in one pass where no gradient is wanted.

    Args:
        x: Rows, `[n,k]`.
        w: A weight, `[o,k]`.
        rest: What is added, `[n,o]`.
    """
    if torch.is_grad_enabled() or not _known(x):
        return rest + product(x, w)
    return _ONEDNN.binary(x, rest, w, None, "add")


def gated(
    x: Float[Tensor, "n k"], gate: Float[Tensor, "o k"], up: Float[Tensor, "o k"]
) -> Float[Tensor, "n o"]:
    """Compute silu(x @ gateᵀ)·(x @ upᵀ), differentiable twice; in two passes without a gradient.

    Args:
        x: Rows, `[n,k]`.
        gate: The weight under the silu, `[o,k]`.
        up: The other weight, `[o,k]`.

    Source: Shazeer, 2020.
    """
    if not _known(x):
        return F.silu(product(x, gate)) * product(x, up)
    if torch.is_grad_enabled():
        return _Gated.apply(x, gate, up)
    return _ONEDNN.binary(x, _ONEDNN(x, gate, None, "swish", [], ""), up, None, "mul")


def _known(x: Tensor) -> bool:
    return (
        _ONEDNN is not None
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return _ONEDNN(x, w, None, "none", [], "")

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, w = ctx.saved_tensors
        return (
            product(g, w.mT) if ctx.needs_input_grad[0] else None,
            _outer(g, x) if ctx.needs_input_grad[1] else None,
        )


class _Gated(torch.autograd.Function):
    """Saves the two products alone, and adds the two gradients of x in one pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, up: Tensor) -> Tensor:
        a, b = _ONEDNN(x, gate, None, "none", [], ""), _ONEDNN(x, up, None, "none", [], "")
        ctx.save_for_backward(x, gate, up, a, b)
        return F.silu(a).mul_(b)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, gate, up, a, b = ctx.saved_tensors
        if (
            torch.is_grad_enabled()
        ):  # somebody differentiates this: what was kept does not remember where it came from
            a, b = product(x, gate), product(x, up)
            g_gate = g * b * a.sigmoid() * (1 + a * (-a).sigmoid())
        else:
            g_gate = torch.ops.aten.silu_backward(g * b, a)
        g_up = g * F.silu(a)
        return (
            plus(g_gate, gate.mT, product(g_up, up.mT)) if ctx.needs_input_grad[0] else None,
            _outer(g_gate, x) if ctx.needs_input_grad[1] else None,
            _outer(g_up, x) if ctx.needs_input_grad[2] else None,
        )


def _outer(g: Float[Tensor, "n o"], x: Float[Tensor, "n k"]) -> Float[Tensor, "o k"]:
    """Compute gᵀ @ x, a weight's gradient, with the larger factor second: oneDNN is faster so."""
    return product(x.mT, g.mT).mT if g.shape[1] > x.shape[1] else product(g.mT, x.mT)
