"""A Llama's layers as one function of tensors.

How queries meet keys is a plan that the caller chooses. Shapes: n tokens (packed, or padded and
flattened), W width, H heads, K key-value heads, d head size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from assay.errors import InputError
from assay.models.backbones.matmul import gated, plus, product

Plan = Callable[
    [int, Tensor, Tensor], Tensor
]  # (layer, queries and keys [n,H+K,d], values [n,K,d]) → [n,H·d]

Note = Callable[[int, str, Tensor], object]  # (layer, which activation, `[n,…]`)


@dataclass(frozen=True)
class Config:
    """The sizes of a Llama.

    Attributes:
        vocabulary: Tokens.
        width: Of a hidden state.
        layers: Number of layers.
        heads: Query heads.
        kv_heads: Key-value heads; they divide `heads`.
        inner: Width within the MLP.
        rope: Base of the rotary positions.
        eps: Of the norms.
        tied: The output head is the embedding.

    Raises:
        InputError: The sizes do not divide each other.
    """

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
            raise InputError(
                f"a Llama of width {self.width} cannot have {self.heads} heads over "
                f"{self.kv_heads} key-value heads: heads must divide the width into even parts, "
                "and key-value heads must divide heads"
            )

    @property
    def head(self) -> int:
        """The size of one head."""
        return self.width // self.heads


def shapes(c: Config) -> dict[str, tuple[int, ...]]:
    """Return every weight's shape, by the name that transformers' LlamaForCausalLM gives it."""
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (c.vocabulary, c.width)}
    for i in range(c.layers):
        at, kv = f"model.layers.{i}", c.kv_heads * c.head
        out |= {
            f"{at}.self_attn.q_proj.weight": (c.width, c.width),
            f"{at}.self_attn.k_proj.weight": (kv, c.width),
            f"{at}.self_attn.v_proj.weight": (kv, c.width),
            f"{at}.self_attn.o_proj.weight": (c.width, c.width),
            f"{at}.mlp.gate_proj.weight": (c.inner, c.width),
            f"{at}.mlp.up_proj.weight": (c.inner, c.width),
            f"{at}.mlp.down_proj.weight": (c.width, c.inner),
            f"{at}.input_layernorm.weight": (c.width,),
            f"{at}.post_attention_layernorm.weight": (c.width,),
        }
    out["model.norm.weight"] = (c.width,)
    return out if c.tied else {**out, "lm_head.weight": (c.vocabulary, c.width)}


@dataclass(frozen=True)
class Layer:
    """One layer's weights, each `[out, in]`.

    Norms' weights and the scores' 1/√d are folded into what follows them, and the rows of `qk` are
    ordered so that the pairs which rotary positions turn lie side by side.
    """

    qk: Tensor
    v: Tensor
    o: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor


def layers(w: Mapping[str, Tensor], c: Config) -> list[Layer]:
    """Lay the weights out for `backbone`, once a call, so that gradients reach the parameters."""

    def layer(i: int) -> Layer:
        at = f"model.layers.{i}"
        q, k, v, o = (w[f"{at}.self_attn.{p}_proj.weight"] for p in "qkvo")
        gate, up, down = (w[f"{at}.mlp.{p}_proj.weight"] for p in ("gate", "up", "down"))
        norm1, norm2 = (w[f"{at}.{p}_layernorm.weight"] for p in ("input", "post_attention"))
        qk = (
            torch.cat([q * c.head**-0.5, k])
            .unflatten(0, (-1, 2, c.head // 2))
            .transpose(1, 2)
            .flatten(0, 2)
        )
        return Layer(qk * norm1, v * norm1, o, gate * norm2, up * norm2, down)

    return [layer(i) for i in range(c.layers)]


def rms_norm(x: Float[Tensor, "n W"], *, eps: float) -> Float[Tensor, "n W"]:
    """Compute x / √(mean x² + eps), before its weight.

    Source: Zhang and Sennrich, 2019.
    """
    return _RMSNorm.apply(x, eps) if torch.is_grad_enabled() else x * _scale(x, eps)


def _scale(x: Float[Tensor, "n W"], eps: float) -> Float[Tensor, "n 1"]:
    return torch.rsqrt(
        torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1] + eps
    )


class _RMSNorm(torch.autograd.Function):
    """y = x·s with s = (mean x² + eps)^(−1/2), and its gradient s·(g − y·mean(g·y)).

    In half of the passes over memory that autograd takes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        s = _scale(x, eps)
        y = x * s
        ctx.eps = eps
        ctx.save_for_backward(x, y, s)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        x, y, s = ctx.saved_tensors
        if (
            torch.is_grad_enabled()
        ):  # somebody differentiates this: what was kept does not remember where it came from
            s = _scale(x, ctx.eps)
            y = x * s
        return torch.addcmul(g, y, (g * y).mean(-1, keepdim=True), value=-1) * s, None


def rope(positions: Int[Tensor, "n"], c: Config, dtype: torch.dtype) -> Complex[Tensor, "n 1 d2"]:
    """Compute the rotary embedding's e^{i·angle}, in float64 whatever the dtype.

    Args:
        positions: Each token's place in its row, `[n]`, from 0.
        c: The sizes; their head size and base are read.
        dtype: The real dtype whose complex counterpart is returned.

    Returns:
        Factors of modulus 1, `[n,1,d/2]`, one for each pair of a head's coordinates.

    Source: Su et al., 2021.
    """
    half = torch.arange(0, c.head, 2, device=positions.device, dtype=torch.float64) / c.head
    angle = positions[:, None, None].double() * c.rope**-half
    return torch.polar(torch.ones_like(angle), angle).to(dtype.to_complex())


def rotate(x: Float[Tensor, "n H d"], turn: Complex[Tensor, "n 1 d2"]) -> Float[Tensor, "n H d"]:
    """Turn each pair of neighbours by its angle."""
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turn).flatten(-2)


def backbone(
    x: Float[Tensor, "n W"],
    stack: list[Layer],
    final: Float[Tensor, "W"],
    c: Config,
    turn: Complex[Tensor, "n 1 d2"],
    plan: Plan,
    note: Note = lambda i, name, x: None,
) -> Float[Tensor, "n W"]:
    """Send embedded tokens through every layer and the last norm.

    Args:
        x: Embedded tokens, `[n,W]`.
        stack: The layers' weights, from `layers`.
        final: The last norm's weight, `[W]`.
        c: The sizes.
        turn: Rotary factors of the tokens' positions, from `rope`, `[n,1,d/2]`.
        plan: How queries meet keys, called once a layer.
        note: Called with what each layer computes, see `activations`.

    Returns:
        Hidden states, `[n,W]`.
    """
    H, K, d = c.heads, c.kv_heads, c.head
    for i, layer in enumerate(stack):
        note(i, "input", x)
        y = rms_norm(x, eps=c.eps)
        note(i, "normed", y)
        qk = product(y, layer.qk).unflatten(-1, (H + K, d))
        note(i, "qk", qk)
        qk, v = rotate(qk, turn), product(y, layer.v).unflatten(-1, (K, d))
        note(i, "rotated_qk", qk)
        note(i, "v", v)
        y = plan(i, qk, v)
        note(i, "heads", y)
        x = plus(y, layer.o, x)
        note(i, "middle", x)
        y = rms_norm(x, eps=c.eps)
        note(i, "normed_middle", y)
        y = gated(y, layer.gate, layer.up)
        note(i, "inner", y)
        x = plus(y, layer.down, x)
    note(len(stack), "input", x)
    return rms_norm(x, eps=c.eps) * final


def blind(see: Bool[Tensor, "*n"], dtype: torch.dtype) -> Float[Tensor, "*n"]:
    """Return what is added to scores before a softmax: 0 where a key is seen, −∞ where not."""
    return torch.zeros(see.shape, dtype=dtype, device=see.device).masked_fill_(~see, -torch.inf)


def causal(keep: Bool[Tensor, "R S"]) -> Bool[Tensor, "R S S"]:
    """Say which token sees which: a kept token sees the kept ones up to itself.

    Padding sees itself alone, so that no softmax is empty.
    """
    S = keep.shape[1]
    order = torch.ones(S, S, dtype=torch.bool, device=keep.device).tril()
    return (order & keep[:, None, :]) | torch.eye(S, dtype=torch.bool, device=keep.device)


def positions(keep: Bool[Tensor, "R S"]) -> Int[Tensor, "R S"]:
    """Count positions over kept tokens, so that padding never matters."""
    return (keep.long().cumsum(-1) - 1).clamp(min=0)


def attend(
    q: Float[Tensor, "R S H d"],
    k: Float[Tensor, "R L K d"],
    v: Float[Tensor, "R L K d"],
    bias: Float[Tensor, "R S L"],
) -> Float[Tensor, "R S Hd"]:
    """Compute softmax attention with scores + bias; a key-value head serves H/K query heads.

    Args:
        q: Queries of R rows, `[R,S,H,d]`, already multiplied by 1/√d.
        k: Keys, `[R,L,K,d]`.
        v: Values, `[R,L,K,d]`.
        bias: 0 where a query sees a key, −∞ where not, `[R,S,L]`; each query sees one at least.

    Returns:
        The heads' outputs side by side, `[R,S,H·d]`.
    """
    R, S, H, d = q.shape
    K = k.shape[2]
    q = q.unflatten(2, (K, H // K)).permute(0, 2, 3, 1, 4).reshape(R * K, -1, d)
    k, v = k.transpose(1, 2).flatten(0, 1), v.transpose(1, 2).flatten(0, 1)
    scores = torch.bmm(q, k.mT).view(R, H, S, -1) + bias[:, None]
    out = torch.bmm(scores.softmax(-1).view(R * K, -1, k.shape[1]), v)
    return out.view(R, H, S, d).transpose(1, 2).reshape(R, S, H * d)


class Dense:
    """The plain plan: every row padded to S columns."""

    def __init__(self, keep: Bool[Tensor, "R S"], dtype: torch.dtype):
        self.bias = blind(causal(keep), dtype)

    def __call__(self, _: int, qk: Tensor, v: Tensor) -> Tensor:
        qk, v = (t.reshape(*self.bias.shape[:2], *t.shape[1:]) for t in (qk, v))
        K = v.shape[2]
        return attend(qk[:, :, :-K], qk[:, :, -K:], v, self.bias).flatten(0, 1)
