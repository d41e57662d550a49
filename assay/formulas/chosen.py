"""log π of the tokens that were taken, from hidden states, without ever holding a row of the
vocabulary for every decision.

log_softmax(h·Wᵀ)[taken] and its gradients, in blocks of decisions and tokens: logits are made, used
and overwritten, so that memory is a small part of what it would be, the head's own gradient aside.
Where the head is trained, its logits are made a second time in the backward pass, but for an eighth
that is kept: that much time costs little room. Where it is not, what its backward pass needs, Σ_v
p_v·W_v (one row a decision), is summed up on the way. The running maximum is that of Milakov &
Gimelshein, "Online normalizer calculation for softmax", 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_ROWS, _BLOCK = (
    512,
    1 << 20,
)  # decisions at once; logits at once, 4 MiB in float32: they stay in a processor's cache
# of the logits, from the forward to the backward pass: a 24th of what the plain form needs at its
# peak
_KEPT = 0.125


@dataclass(frozen=True)
class Law:
    """From a head's output to a policy's logits: scale, then a soft cap, then the temperature.

    `barred`: ids of probability 0. `late`: ids that are barred as well where `early` says so.
    """

    scale: float = 1.0
    cap: float | None = None
    temperature: float = 1.0
    barred: Sequence[int] = ()
    late: Sequence[int] = ()


def chosen(
    hidden: Float[Tensor, "n W"],
    weight: Float[Tensor, "V W"],
    taken: Int[Tensor, "n"],
    *,
    bias: Float[Tensor, "V"] | None = None,
    law: Law = Law(),
    early: Bool[Tensor, "n"] | None = None,
    entropy: bool = False,
) -> Any:
    """log softmax(law(hidden·weightᵀ + bias))[taken] `[n]`, differentiable in hidden, weight and
    bias; with `entropy` also the distribution's entropy `[n]` in nats, without gradient.

    The product is of the weight's dtype, and everything after it in float32 at least. −∞ where a
    barred id was taken.
    """
    logp, spread = _Chosen.apply(hidden, weight, bias, taken, law, early, entropy)  # type: ignore[no-untyped-call]
    return (logp, spread) if entropy else logp


class _Chosen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        taken: Tensor,
        law: Law,
        early: Tensor | None,
        entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        n, wide = len(hidden), torch.promote_types(weight.dtype, torch.float32)
        h = hidden.to(weight.dtype)
        most = torch.full((n,), torch.finfo(wide).min, dtype=wide, device=h.device)
        total, picked, mean = (
            torch.zeros_like(most),
            torch.full_like(most, -torch.inf),
            torch.zeros_like(most),
        )
        trained = ctx.needs_input_grad[1] or (bias is not None and ctx.needs_input_grad[2])
        summed = ctx.needs_input_grad[0] and not trained and not law.cap
        along = torch.zeros(n, h.shape[1], dtype=wide, device=h.device) if summed else None
        kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        for c, r in _blocks(n, len(weight)):
            x = _logits(h[r], weight[c], bias, c, law, None if early is None else early[r], wide)
            _take(x, taken[r], c, picked[r])
            up = torch.maximum(most[r], x.amax(1))
            shrink = (most[r] - up).exp_()
            if entropy:
                mean[r] *= shrink
                mean[r] += _moment(x, up)
            x.sub_(up[:, None]).exp_()
            total[r] = total[r] * shrink + x.sum(1)
            if along is not None:
                along[r] *= shrink[:, None]
                _add(along[r], x.to(weight.dtype), weight[c])
            if trained and not law.cap and c.stop <= _KEPT * len(weight):
                kept[c.start, r.start] = x, up
            most[r] = up
        z = most + total.log()
        if along is not None:
            along.div_(-total[:, None]).add_(weight[taken]).mul_(law.scale / law.temperature)
            along[picked == -torch.inf] -= (
                weight[taken[picked == -torch.inf]] * (law.scale / law.temperature)
            ).to(wide)
        ctx.law, ctx.kind, ctx.kept = law, hidden.dtype, kept
        ctx.save_for_backward(
            *((along,) if along is not None else (h, weight, bias, taken, early, z))
        )
        spread = z - mean / total if entropy else z.new_empty(0)
        ctx.mark_non_differentiable(spread)
        return picked - z, spread

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if len(ctx.saved_tensors) == 1:
            return (ctx.saved_tensors[0] * grad[:, None]).to(ctx.kind), *[None] * 6
        h, weight, bias, taken, early, z = ctx.saved_tensors
        law, wants, wide = ctx.law, ctx.needs_input_grad, z.dtype
        dh = torch.zeros(h.shape, dtype=wide, device=h.device) if wants[0] else None
        dw = torch.empty_like(weight) if wants[1] else None
        db = torch.zeros(len(weight), dtype=wide, device=h.device) if wants[2] else None
        for c, rows in _columns(len(h), len(weight)):
            own = (
                None
                if dw is None
                else dw[c].zero_()
                if dw.dtype == wide
                else torch.zeros_like(dw[c], dtype=wide)
            )
            for r in rows:
                slope = None
                if (c.start, r.start) in ctx.kept:
                    x, up = ctx.kept[c.start, r.start]
                    x = x * ((up - z[r]).exp() * -grad[r])[:, None]
                else:
                    x = _logits(
                        h[r], weight[c], bias, c, law, None if early is None else early[r], wide
                    )
                    slope = None if not law.cap else 1 - (x * (law.temperature / law.cap)).square_()
                    x.sub_(z[r][:, None]).exp_().mul_(-grad[r][:, None])
                _add_taken(x, taken[r], c, grad[r])
                _bar(x, c, law, None if early is None else early[r], 0.0)
                if slope is not None:
                    x.mul_(torch.where(slope.isfinite(), slope, 0.0))
                if law.scale != law.temperature:
                    x.mul_(law.scale / law.temperature)
                if db is not None:
                    db[c] += x.sum(0)
                x = x.to(weight.dtype)
                if dh is not None:
                    _add(dh[r], x, weight[c])
                if own is not None:
                    _add(own, x.T, h[r])
            if dw is not None and own is not None and dw.dtype != wide:
                dw[c] = own
        return (
            None if dh is None else dh.to(ctx.kind),
            dw,
            None if db is None else db.to(bias.dtype),
            None,
            None,
            None,
            None,
        )


def _columns(n: int, V: int) -> Iterator[tuple[slice, list[slice]]]:
    """Blocks of tokens, and the blocks of decisions for each."""
    rows = [slice(i, min(i + _ROWS, n)) for i in range(0, n, _ROWS)]
    step = max(1, _BLOCK // max(1, min(n, _ROWS)))
    return ((slice(j, min(j + step, V)), rows) for j in range(0, V, step))


def _blocks(n: int, V: int) -> Iterator[tuple[slice, slice]]:
    return ((c, r) for c, rows in _columns(n, V) for r in rows)


def _logits(
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    c: slice,
    law: Law,
    early: Tensor | None,
    wide: torch.dtype,
) -> Tensor:
    """A block of a policy's logits, before normalisation, in storage of its own."""
    x = torch.nn.functional.linear(h, weight, None if bias is None else bias[c]).to(wide)
    if law.scale != 1.0:
        x.mul_(law.scale)
    if law.cap:
        x.div_(law.cap).tanh_().mul_(law.cap)
    if law.temperature != 1.0:
        x.div_(law.temperature)
    _bar(x, c, law, early, -torch.inf)
    return x


def _bar(x: Tensor, c: slice, law: Law, early: Tensor | None, value: float) -> None:
    """Put a value where an id of this block is barred."""
    never = [i - c.start for i in law.barred if c.start <= i < c.stop]
    if never:
        x.index_fill_(1, torch.tensor(never, device=x.device), value)
    for i in law.late if early is not None else ():
        if c.start <= i < c.stop and early is not None:
            x[:, i - c.start].masked_fill_(early, value)


def _take(x: Tensor, taken: Tensor, c: slice, into: Tensor) -> None:
    """The logits of the ids that were taken, of those within this block."""
    at = taken - c.start
    here = (at >= 0) & (at < x.shape[1])
    found = x.gather(1, at.clamp(0, x.shape[1] - 1)[:, None])[:, 0]
    into.copy_(torch.where(here, found, into))


def _add_taken(x: Tensor, taken: Tensor, c: slice, grad: Tensor) -> None:
    at = taken - c.start
    here = (at >= 0) & (at < x.shape[1])
    x.scatter_add_(
        1,
        at.clamp(0, x.shape[1] - 1)[:, None],
        torch.where(here, grad, grad.new_zeros(())).to(x.dtype)[:, None],
    )


def _moment(x: Tensor, up: Tensor) -> Tensor:
    """Σ exp(x − up)·x, 0 where x is −∞."""
    p = (x - up[:, None]).exp_()
    return torch.where(p > 0, p * x, 0.0).sum(1)


def _add(into: Tensor, a: Tensor, b: Tensor) -> None:
    """into += a·b; products of a narrower dtype are added up in the wider."""
    if into.dtype == a.dtype:
        into.addmm_(a, b)
    else:
        into.add_(a @ b)
