"""A Llama's layers as one function of tensors; how its queries meet its keys is a plan that the caller chooses.

Weights may have a leading member axis M: then hidden states have it too, and M models run as one.
Shapes: n tokens (packed or padded, flattened), W width, H heads, K key-value heads, d head size.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import InputError

Plan = Callable[[int, Tensor, Tensor, Tensor], Tensor]  # (layer, q [..,n,H,d], k [..,n,K,d], v [..,n,K,d]) → [..,n,H·d]


@dataclass(frozen=True)
class Config:
    """The sizes of a Llama. `kv_heads` divides `heads`; `tied`: the output head is the embedding."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    rope: float = 10000.0
    eps: float = 1e-5
    tied: bool = True

    def __post_init__(self) -> None:
        if self.width % self.heads or self.heads % self.kv_heads or self.head % 2:
            raise InputError(f"a Llama of width {self.width} cannot have {self.heads} heads over {self.kv_heads} key-value heads: "
                             "heads must divide the width into even parts, and key-value heads must divide heads")

    @property
    def head(self) -> int:
        """The size of one head."""
        return self.width // self.heads


def shapes(c: Config) -> dict[str, tuple[int, ...]]:
    """Every weight's shape, by the name that transformers' LlamaForCausalLM gives it."""
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (c.vocabulary, c.width)}
    for i in range(c.layers):
        at, kv = f"model.layers.{i}", c.kv_heads * c.head
        out |= {f"{at}.self_attn.q_proj.weight": (c.width, c.width), f"{at}.self_attn.k_proj.weight": (kv, c.width),
                f"{at}.self_attn.v_proj.weight": (kv, c.width), f"{at}.self_attn.o_proj.weight": (c.width, c.width),
                f"{at}.mlp.gate_proj.weight": (c.inner, c.width), f"{at}.mlp.up_proj.weight": (c.inner, c.width),
                f"{at}.mlp.down_proj.weight": (c.width, c.inner),
                f"{at}.input_layernorm.weight": (c.width,), f"{at}.post_attention_layernorm.weight": (c.width,)}
    out["model.norm.weight"] = (c.width,)
    return out if c.tied else {**out, "lm_head.weight": (c.vocabulary, c.width)}


@dataclass(frozen=True)
class Layer:
    """One layer's weights, those with a common input side by side, transposed for `x @ w`."""

    norm1: Tensor
    qkv: Tensor
    o: Tensor
    norm2: Tensor
    gate_up: Tensor
    down: Tensor


def layers(w: Mapping[str, Tensor], c: Config) -> list[Layer]:
    """The weights laid out for `trunk`; made once a call, so that gradients reach the parameters themselves."""
    def layer(i: int) -> Layer:
        at = f"model.layers.{i}"
        qkv = torch.cat([w[f"{at}.self_attn.{p}_proj.weight"] for p in "qkv"], -2)
        gate_up = torch.cat([w[f"{at}.mlp.{p}_proj.weight"] for p in ("gate", "up")], -2)
        return Layer(w[f"{at}.input_layernorm.weight"].unsqueeze(-2), qkv.mT, w[f"{at}.self_attn.o_proj.weight"].mT,
                     w[f"{at}.post_attention_layernorm.weight"].unsqueeze(-2), gate_up.mT, w[f"{at}.mlp.down_proj.weight"].mT)

    return [layer(i) for i in range(c.layers)]


def rms_norm(x: Float[Tensor, "*M n W"], weight: Float[Tensor, "*M 1 W"], *, eps: float) -> Float[Tensor, "*M n W"]:
    """x / √(mean x² + eps) · weight (Zhang and Sennrich, 2019)."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def rope(positions: Int[Tensor, "n"], c: Config, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[n,1,d/2]` of the rotary embedding (Su et al., 2021), computed in float64 whatever the dtype."""
    half = torch.arange(0, c.head, 2, device=positions.device, dtype=torch.float64) / c.head
    angle = positions[:, None].double() * c.rope ** -half
    return angle.cos().to(dtype)[:, None], angle.sin().to(dtype)[:, None]


def rotate(x: Float[Tensor, "*M n H d"], cos: Tensor, sin: Tensor) -> Float[Tensor, "*M n H d"]:
    """Each pair (x_i, x_{i+d/2}) turned by its angle: the pairing that transformers uses."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def trunk(x: Float[Tensor, "*M n W"], stack: list[Layer], final: Tensor, c: Config, turn: tuple[Tensor, Tensor],
          plan: Plan) -> Float[Tensor, "*M n W"]:
    """Embedded tokens through every layer and the last norm."""
    H, K, d = c.heads, c.kv_heads, c.head
    for i, layer in enumerate(stack):
        qkv = (rms_norm(x, layer.norm1, eps=c.eps) @ layer.qkv).unflatten(-1, (H + 2 * K, d))
        qk, v = qkv.split([H + K, K], -2)
        q, k = rotate(qk, *turn).split([H, K], -2)
        x = x + plan(i, q, k, v) @ layer.o
        gate, up = (rms_norm(x, layer.norm2, eps=c.eps) @ layer.gate_up).chunk(2, -1)
        x = x + (F.silu(gate) * up) @ layer.down
    return rms_norm(x, final.unsqueeze(-2), eps=c.eps)


def attend(q: Float[Tensor, "R S H d"], k: Float[Tensor, "R L K d"], v: Float[Tensor, "R L K d"],
           see: Bool[Tensor, "R S L"]) -> Float[Tensor, "R S Hd"]:
    """Softmax attention; query s of row r sees key l where `see` says so, and it must see one."""
    R, S, H, d = q.shape
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=see[:, None], enable_gqa=H != k.shape[1])
    return out.transpose(1, 2).reshape(R, S, H * d)


def causal(keep: Bool[Tensor, "R S"]) -> Bool[Tensor, "R S S"]:
    """Who sees whom: kept tokens the kept ones up to themselves, padding itself alone (so that no softmax is empty)."""
    S = keep.shape[1]
    order = torch.ones(S, S, dtype=torch.bool, device=keep.device).tril()
    return (order & keep[:, None, :]) | torch.eye(S, dtype=torch.bool, device=keep.device)


def positions(keep: Bool[Tensor, "R S"]) -> Int[Tensor, "R S"]:
    """Places counted over kept tokens, so that padding never matters."""
    return (keep.long().cumsum(-1) - 1).clamp(min=0)


def dense(keep: Bool[Tensor, "R S"]) -> Plan:
    """The plain plan: every row padded to S, M members' rows (if any) one after another."""
    see = causal(keep)
    R, S = keep.shape

    def plan(_: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows: Any = (-1, S)
        q_, k_, v_ = (t.reshape(*rows, *t.shape[-2:]) for t in (q, k, v))
        who = see if q_.shape[0] == R else see.repeat(q_.shape[0] // R, 1, 1)
        return attend(q_, k_, v_, who).reshape(*q.shape[:-2], -1)

    return plan
