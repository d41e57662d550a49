"""A small Llama, and M of them in one module.

Weights carry the names that transformers gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.core.rng import Rng
from assay.models.backbones import llama_files
from assay.models.backbones.activations import own_activations
from assay.models.backbones.attention import (
    Config,
    Dense,
    Layer,
    Plan,
    backbone,
    layers,
    positions,
    rope,
    shapes,
)
from assay.models.backbones.cache import Cache
from assay.models.backbones.decoding import decode
from assay.models.backbones.matmul import product, roomy
from assay.models.backbones.shared_prompts import Shared

__all__ = ["Config", "Llama", "Stack"]

_EMBED, _NORM, _HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


def initial(config: Config, rng: Rng) -> dict[str, Tensor]:
    """Draw first weights, each a function of its own address.

    Norms are 1; embeddings and matrices are normal with variance 1/inputs, those that write into
    the residual stream divided by √(2·layers).
    """
    out = {}
    for name, shape in shapes(config).items():
        if len(shape) == 1:
            out[name] = torch.ones(shape)
            continue
        scale = 1 / math.sqrt(shape[1])
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            scale /= math.sqrt(2 * config.layers)
        out[name] = rng(name).normal(torch.arange(math.prod(shape))).reshape(shape) * scale
    return out


Weights = tuple[Tensor, list[Layer], Tensor]  # the embedding, the layers, the last norm


def laid_out(w: Mapping[str, Tensor], config: Config) -> Weights:
    """Lay the weights out for `run`, once a call."""
    return w[_EMBED], layers(w, config), w[_NORM]


def run(
    weights: Weights, tokens: Int[Tensor, "n"], places: Int[Tensor, "n"], plan: Plan, config: Config
) -> Float[Tensor, "n W"]:
    """Compute hidden states of tokens at these positions, which see each other as the plan says.

    Args:
        weights: From `laid_out`.
        tokens: Token ids, `[n]`, packed or flattened.
        places: Each token's position in its row, `[n]`.
        plan: How queries meet keys.
        config: The sizes.

    Returns:
        The last norm's output, `[n,W]`.
    """
    embed, stack, final = weights
    return backbone(
        F.embedding(tokens, embed), stack, final, config, rope(places, config, embed.dtype), plan
    )


def plain(
    weights: Weights, tokens: Int[Tensor, "R S"], keep: Bool[Tensor, "R S"], config: Config
) -> Float[Tensor, "R S W"]:
    """Compute hidden states of padded rows, each by itself.

    Args:
        weights: From `laid_out`.
        tokens: Token ids, `[R,S]`.
        keep: The tokens that are no padding, `[R,S]`.
        config: The sizes.
    """
    plan = Dense(keep, weights[0].dtype)
    return run(weights, tokens.flatten(), positions(keep).flatten(), plan, config).unflatten(
        0, keep.shape
    )


class _Named(nn.Module):
    """Parameters under dotted names."""

    def __init__(self, weights: Mapping[str, Tensor]):
        super().__init__()
        for name, value in weights.items():
            *path, last = name.split(".")
            module: nn.Module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(last, nn.Parameter(value))

    def weights(self) -> dict[str, Tensor]:
        return dict(self.named_parameters())


class Llama(_Named):
    """A causal backbone: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

    Source: Touvron et al., 2023.

    Args:
        config: The sizes.
        rng: The address of first weights.
        weights: Weights to take instead, by name.
    """

    def __init__(
        self, config: Config, rng: Rng | None = None, *, weights: Mapping[str, Tensor] | None = None
    ):
        super().__init__(initial(config, rng or Rng(0)) if weights is None else weights)
        self.config, self.width = config, config.width

    def _laid_out(self) -> Weights:
        return laid_out(self.weights(), self.config)

    def hidden(
        self, tokens: Int[Tensor, "R S"], keep: Bool[Tensor, "R S"]
    ) -> Float[Tensor, "R S W"]:
        """Compute the last norm's output at every token.

        What stands at a place that is not kept is finite and means nothing.
        """
        return plain(self._laid_out(), tokens, keep, self.config)

    def hidden_states(
        self,
        prompt: Int[Tensor, "B P"],
        prompt_keep: Bool[Tensor, "B P"],
        completion: Int[Tensor, "B N T"],
        keep: Bool[Tensor, "B N T"],
    ) -> tuple[Float[Tensor, "n W"], Int[Tensor, "B N T1"]]:
        """Compute the hidden states of all kept tokens, each prompt once for all its completions.

        See Backbone.hidden_states. The last rows of the packed states are padding.
        """
        weights = self._laid_out()
        plan = Shared(prompt_keep, keep, weights[0].dtype)
        return run(
            weights, plan.packed(prompt, completion), plan.places, plan, self.config
        ), plan.before

    activations = own_activations  # see Backbone.hidden_states

    @torch.no_grad()
    def prefill(
        self,
        prompt: Int[Tensor, "B P"],
        keep: Bool[Tensor, "B P"],
        owner: Int[Tensor, "R"],
        room: int,
    ) -> tuple[Float[Tensor, "B W"], Cache]:
        """Compute prompts once and begin completions of them.

        See Backbone.prefill.
        """
        weights, (B, P) = self._laid_out(), keep.shape
        plan, cache = (
            Dense(keep, weights[0].dtype),
            Cache(self.config, len(owner), P + room, weights, weights[0]),
        )

        def kept(i: int, qk: Tensor, v: Tensor) -> Tensor:
            cache.put(i, *(t.view(B, P, *t.shape[1:])[owner] for t in (qk[:, -v.shape[1] :], v)))
            return plan(i, qk, v)

        hidden = run(
            weights, prompt.flatten(), positions(keep).flatten(), kept, self.config
        ).unflatten(0, (B, P))
        cache.advance(keep[owner])
        return hidden[:, -1], cache

    @torch.no_grad()
    def extend(
        self, cache: Cache, tokens: Int[Tensor, "R S"], keep: Bool[Tensor, "R S"]
    ) -> Float[Tensor, "R S W"]:
        """Add S columns to every row of a cache.

        See Backbone.extend.
        """
        cache.reserve(keep.shape[1])
        if keep.shape[1] == 1:
            return decode(cache, tokens[:, 0], keep[:, 0], self.config)[:, None]
        places = cache.length[:, None] + positions(keep)
        hidden = run(
            cache.weights, tokens.flatten(), places.flatten(), cache.plan(keep), self.config
        )
        cache.advance(keep)
        return hidden.unflatten(0, keep.shape)

    def fits(self, rows: int) -> int:
        """Round a number of rows up to one of few sizes, whose kernels are compiled already."""
        return -(-rows // 8) * 8 if rows < 128 else roomy(rows)

    def logits(self, hidden: Float[Tensor, "*n W"]) -> Float[Tensor, "*n V"]:
        """Return unnormalised log-probabilities of the next token."""
        path = (_EMBED if self.config.tied else _HEAD).rpartition(".")[0]
        head: Any = self.get_submodule(
            path
        ).weight  # whatever tensor stands there: functional calls exchange it
        return product(hidden.flatten(0, -2), head).unflatten(0, hidden.shape[:-1])

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors as transformers' LlamaForCausalLM reads them.

        Args:
            folder: Made where it does not exist.
        """
        llama_files.write(Path(folder), self.config, self.weights())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Llama:
        """Read what `save_pretrained`, or transformers for a plain Llama, wrote.

        Args:
            folder: Holds config.json and model.safetensors.

        Raises:
            InputError: The folder holds no plain Llama.
        """
        config, weights = llama_files.read(Path(folder))
        return cls(config, weights=weights)


class Stack(_Named):
    """M Llamas whose weights are stacked, `[M,…]`.

    Member m begins as `Llama(config, rng("member", m))`. Members are computed in turn: one small
    model after another stays in the processor's cache, and was measured to be faster than one
    batched product for all.
    """

    def __init__(self, config: Config, members: int, rng: Rng):
        each = [initial(config, rng("member", m)) for m in range(members)]
        super().__init__({name: torch.stack([w[name] for w in each]) for name in each[0]})
        self.config, self.members = config, members

    def hidden(
        self, tokens: Int[Tensor, "*M R S"], keep: Bool[Tensor, "*M R S"]
    ) -> Float[Tensor, "M R S W"]:
        """Compute every member's last norm at every token.

        Args:
            tokens: The same rows for all `[R,S]`, or each member's own `[M,R,S]`.
            keep: Of the same shape.
        """
        each = {name: w.unbind(0) for name, w in self.weights().items()}
        shape = (self.members, *tokens.shape[-2:])
        return torch.stack(
            [
                plain(
                    laid_out({name: w[m] for name, w in each.items()}, self.config),
                    t,
                    k,
                    self.config,
                )
                for m, (t, k) in enumerate(
                    zip(tokens.expand(shape), keep.expand(shape), strict=True)
                )
            ]
        )

    def member(self, m: int) -> Llama:
        """Return member m by itself, in storage of its own."""
        return Llama(
            self.config, weights={k: v.detach()[m].clone() for k, v in self.weights().items()}
        )
