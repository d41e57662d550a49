"""One more token a row: the layers of `attention.backbone` in as few operations as one token needs.

Without gradient. A row's operations are so small that their number is their cost: queries, keys and
values come from one product, √W is folded into the weights that follow a norm, and a row's one
query needs no plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.models.backbones.attention import Config, Layer, rope, rotate
from assay.models.backbones.cache import Cache
from assay.models.backbones.matmul import gated, plus, product


@dataclass(frozen=True)
class Lean:
    """A layer's weights for one token: `qkv` joins `qk` and `v`, √W is in what follows a norm."""

    qkv: Tensor
    o: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def of(cls, layer: Layer) -> Lean:
        root = math.sqrt(layer.o.shape[0])
        return cls(
            torch.cat([layer.qk, layer.v]) * root,
            layer.o,
            layer.gate * root,
            layer.up * root,
            layer.down,
        )


def decode(
    cache: Cache, tokens: Int[Tensor, "R"], keep: Bool[Tensor, "R"], c: Config
) -> Float[Tensor, "R W"]:
    """Add one column to a cache that has room for it.

    Args:
        cache: Keys and values of R completions; changed in place.
        tokens: Each row's new token, `[R]`.
        keep: Whether a row keeps it, `[R]`; where it does not, later tokens do not see it.
        c: The backbone's sizes.

    Returns:
        The hidden states there, `[R,W]`, equal to those of `backbone` up to rounding.
    """
    embed, stack, final = cache.weights
    if cache.lean is None:
        cache.lean = [Lean.of(layer) for layer in stack], final * math.sqrt(c.width)
    if cache.turns is None or len(cache.turns) < cache.bias.shape[1]:
        cache.turns = rope(torch.arange(cache.bias.shape[1], device=embed.device), c, embed.dtype)
    H, K, d, R = c.heads, c.kv_heads, c.head, len(tokens)
    lean, last = cache.lean
    turn = cache.turns.index_select(0, cache.length)
    root = embed.new_full((), math.sqrt(c.width * c.eps))
    at, wide = cache.used, max(cache.used + 1, cache.least)
    cache.bias[:, at] = 0.0  # a token sees itself, kept or not: no softmax is empty
    bias = cache.bias[:, None, :wide].expand(R, H, wide).reshape(R * K, H // K, wide)

    def unit(x: Tensor) -> Tensor:  # rms_norm(x)/√W
        return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).hypot_(root)

    x = F.embedding(tokens, embed)
    for i, layer in enumerate(lean):
        qk, v = product(unit(x), layer.qkv).split([(H + K) * d, K * d], -1)
        q, k = rotate(qk.unflatten(-1, (H + K, d)), turn).split([H, K], 1)
        cache.k[i][:, :, at], cache.v[i][:, :, at] = k, v.unflatten(-1, (K, d))
        keys, values = (t[:, :, :wide].flatten(0, 1) for t in (cache.k[i], cache.v[i]))
        seen = torch.baddbmm(bias, q.reshape(R * K, H // K, d), keys.mT).softmax(-1)
        x = plus(torch.bmm(seen, values).view(R, H * d), layer.o, x)
        x = plus(gated(unit(x), layer.gate, layer.up), layer.down, x)
    cache.bias[:, at].masked_fill_(~keep, -torch.inf)
    cache.used += 1
    cache.length += keep
    return unit(x) * last
