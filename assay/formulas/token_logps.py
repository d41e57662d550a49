"""Log-probabilities of given tokens from hidden states, in blocks of the vocabulary.

No row of logits over the whole vocabulary is held for every token: logits are computed, used and
overwritten block by block, so that memory is a small part of the plain form's (the gradient of the
head itself aside). Where the head is trained, its logits are computed a second time in the backward
pass, except for an eighth that is cached. Where the head is frozen, the sum that the backward pass
needs, Σ_v p_v·W_v (one row a token), is accumulated in the forward pass.

Source: Milakov & Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867, 2018
    (the running maximum and normaliser).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_ROWS = 512  # tokens at once
_BLOCK = 1 << 20  # logits at once: 4 MiB in float32 stay in a processor's cache
# Share of the logits that is cached from the forward to the backward pass: a 24th of what the plain
# form needs at its peak.
_CACHED = 0.125


@dataclass(frozen=True)
class LogitTransform:
    """How a head's output becomes a policy's logits: scale, then soft cap, then temperature.

    Attributes:
        scale: Factor on the head's output.
        softcap: c in c·tanh(logits/c); None for no cap.
        temperature: Divisor of the capped logits.
        suppressed: Token ids of probability 0.
        suppressed_early: Token ids that have probability 0 where `early` is True, such as the end
            token before `min_tokens`.
    """

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0
    suppressed: Sequence[int] = ()
    suppressed_early: Sequence[int] = ()


def token_logps(
    hidden: Float[Tensor, "n W"],
    weight: Float[Tensor, "V W"],
    tokens: Int[Tensor, "n"],
    *,
    bias: Float[Tensor, "V"] | None = None,
    transform: LogitTransform = LogitTransform(),
    early: Bool[Tensor, "n"] | None = None,
    entropy: bool = False,
) -> Any:
    """Log-probability of each token under the policy's distribution at its place.

    log softmax(transform(hidden·weightᵀ + bias))[tokens]

    The product is computed in the weight's dtype, everything after it in float32 at least.

    Args:
        hidden: Hidden states `[n, W]`, one a token.
        weight: The head's weight `[V, W]`.
        tokens: Token ids `[n]`.
        bias: The head's bias `[V]`.
        transform: Scale, soft cap, temperature and suppressed tokens.
        early: `[n]`, True where `transform.suppressed_early` applies.
        entropy: Also return the entropy of each distribution.

    Returns:
        `[n]` in nats, differentiable in hidden, weight and bias; −∞ for a suppressed token. With
        `entropy` a pair: these, and the entropies `[n]` in nats, without gradient.
    """
    logp, spread = _TokenLogps.apply(hidden, weight, bias, tokens, transform, early, entropy)  # type: ignore[no-untyped-call]
    return (logp, spread) if entropy else logp


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        transform: LogitTransform,
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
        summed = ctx.needs_input_grad[0] and not trained and not transform.softcap
        along = torch.zeros(n, h.shape[1], dtype=wide, device=h.device) if summed else None
        cached: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        for c, r in _blocks(n, len(weight)):
            x = _logits(
                h[r], weight[c], bias, c, transform, None if early is None else early[r], wide
            )
            _gather(x, tokens[r], c, picked[r])
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
            if trained and not transform.softcap and c.stop <= _CACHED * len(weight):
                cached[c.start, r.start] = x, up
            most[r] = up
        z = most + total.log()
        if along is not None:
            along.div_(-total[:, None]).add_(weight[tokens]).mul_(
                transform.scale / transform.temperature
            )
            along[picked == -torch.inf] -= (
                weight[tokens[picked == -torch.inf]] * (transform.scale / transform.temperature)
            ).to(wide)
        ctx.transform, ctx.kind, ctx.cached = transform, hidden.dtype, cached
        ctx.save_for_backward(
            *((along,) if along is not None else (h, weight, bias, tokens, early, z))
        )
        spread = z - mean / total if entropy else z.new_empty(0)
        ctx.mark_non_differentiable(spread)
        return picked - z, spread

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if len(ctx.saved_tensors) == 1:
            return (ctx.saved_tensors[0] * grad[:, None]).to(ctx.kind), *[None] * 6
        h, weight, bias, tokens, early, z = ctx.saved_tensors
        transform, wants, wide = ctx.transform, ctx.needs_input_grad, z.dtype
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
                if (c.start, r.start) in ctx.cached:
                    x, up = ctx.cached[c.start, r.start]
                    x = x * ((up - z[r]).exp() * -grad[r])[:, None]
                else:
                    x = _logits(
                        h[r],
                        weight[c],
                        bias,
                        c,
                        transform,
                        None if early is None else early[r],
                        wide,
                    )
                    slope = (
                        None
                        if not transform.softcap
                        else 1 - (x * (transform.temperature / transform.softcap)).square_()
                    )
                    x.sub_(z[r][:, None]).exp_().mul_(-grad[r][:, None])
                _add_taken(x, tokens[r], c, grad[r])
                _suppress(x, c, transform, None if early is None else early[r], 0.0)
                if slope is not None:
                    x.mul_(torch.where(slope.isfinite(), slope, 0.0))
                if transform.scale != transform.temperature:
                    x.mul_(transform.scale / transform.temperature)
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
    """Blocks of the vocabulary, and for each the blocks of tokens."""
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
    transform: LogitTransform,
    early: Tensor | None,
    wide: torch.dtype,
) -> Tensor:
    """A block of a policy's logits, before normalisation, in storage of its own."""
    x = torch.nn.functional.linear(h, weight, None if bias is None else bias[c]).to(wide)
    if transform.scale != 1.0:
        x.mul_(transform.scale)
    if transform.softcap:
        x.div_(transform.softcap).tanh_().mul_(transform.softcap)
    if transform.temperature != 1.0:
        x.div_(transform.temperature)
    _suppress(x, c, transform, early, -torch.inf)
    return x


def _suppress(
    x: Tensor, c: slice, transform: LogitTransform, early: Tensor | None, value: float
) -> None:
    """Write a value where an id of this block is suppressed."""
    never = [i - c.start for i in transform.suppressed if c.start <= i < c.stop]
    if never:
        x.index_fill_(1, torch.tensor(never, device=x.device), value)
    for i in transform.suppressed_early if early is not None else ():
        if c.start <= i < c.stop and early is not None:
            x[:, i - c.start].masked_fill_(early, value)


def _gather(x: Tensor, tokens: Tensor, c: slice, into: Tensor) -> None:
    """Write the logits of those tokens that lie in this block."""
    at = tokens - c.start
    here = (at >= 0) & (at < x.shape[1])
    found = x.gather(1, at.clamp(0, x.shape[1] - 1)[:, None])[:, 0]
    into.copy_(torch.where(here, found, into))


def _add_taken(x: Tensor, tokens: Tensor, c: slice, grad: Tensor) -> None:
    at = tokens - c.start
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
    """into += a·b; products of a narrower dtype are summed in the wider one."""
    if into.dtype == a.dtype:
        into.addmm_(a, b)
    else:
        into.add_(a @ b)
