"""A small Llama of our own, and M of them as one batched model. Weights carry the names that
transformers gives them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assay.core.rng import Rng
from assay.errors import InputError
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
    """First weights, each a function of its own address: norms 1; embeddings and matrices normal
    with variance 1/inputs, those that write into the residual stream divided by √(2·layers).
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
    """The weights as `run` wants them; made once a call."""
    return w[_EMBED], layers(w, config), w[_NORM]


def run(
    weights: Weights, tokens: Int[Tensor, "n"], places: Int[Tensor, "n"], plan: Plan, config: Config
) -> Float[Tensor, "n W"]:
    """Hidden states of tokens at these positions, which see each other as the plan says."""
    embed, stack, final = weights
    return backbone(
        F.embedding(tokens, embed), stack, final, config, rope(places, config, embed.dtype), plan
    )


def plain(
    weights: Weights, tokens: Int[Tensor, "R S"], keep: Bool[Tensor, "R S"], config: Config
) -> Float[Tensor, "R S W"]:
    """Hidden states of padded rows, each by itself."""
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
    """A causal backbone: RMSNorm, rotary positions, grouped-query attention, SwiGLU (Touvron et
    al., 2023).
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
        """The last norm's output at every token; what stands at a place that is not kept has no
        meaning (it is finite).
        """
        return plain(self._laid_out(), tokens, keep, self.config)

    def reading(
        self,
        prompt: Int[Tensor, "B P"],
        prompt_keep: Bool[Tensor, "B P"],
        answer: Int[Tensor, "B N T"],
        keep: Bool[Tensor, "B N T"],
    ) -> tuple[Float[Tensor, "n W"], Int[Tensor, "B N T1"]]:
        """Hidden states of all kept tokens, packed (the last few are nobody's), and which of them
        an answer's decision t = 0 … T follows.
        """
        weights = self._laid_out()
        plan = Shared(prompt_keep, keep, weights[0].dtype)
        return run(
            weights, plan.packed(prompt, answer), plan.places, plan, self.config
        ), plan.before

    @torch.no_grad()
    def prefill(
        self,
        prompt: Int[Tensor, "B P"],
        keep: Bool[Tensor, "B P"],
        owner: Int[Tensor, "R"],
        room: int,
    ) -> tuple[Float[Tensor, "B W"], Cache]:
        """Prompts computed once: their last hidden states, and a cache for R answers, row r to
        prompt `owner[r]`.
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
        """S more columns for every row of a cache, and the hidden states there."""
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
        """So many rows or a few more: of few sizes, each of which has been compiled before."""
        return -(-rows // 8) * 8 if rows < 128 else roomy(rows)

    def logits(self, hidden: Float[Tensor, "*n W"]) -> Float[Tensor, "*n V"]:
        """Unnormalised log-probabilities of the next token."""
        path = (_EMBED if self.config.tied else _HEAD).rpartition(".")[0]
        head: Any = self.get_submodule(
            path
        ).weight  # whatever tensor stands there: functional calls exchange it
        return product(hidden.flatten(0, -2), head).unflatten(0, hidden.shape[:-1])

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors as
        `transformers.LlamaForCausalLM.from_pretrained` reads them.
        """
        c, folder = self.config, Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        kind = str(self.get_parameter(_EMBED).dtype).removeprefix("torch.")
        said = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": c.vocabulary,
            "hidden_size": c.width,
            "num_hidden_layers": c.layers,
            "num_attention_heads": c.heads,
            "num_key_value_heads": c.kv_heads,
            "intermediate_size": c.inner,
            "head_dim": c.head,
            "rope_theta": c.rope,
            "rms_norm_eps": c.eps,
            "tie_word_embeddings": c.tied,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "max_position_embeddings": 2048,
            "torch_dtype": kind,
            "bos_token_id": None,
            "eos_token_id": None,
        }
        (folder / "config.json").write_text(json.dumps(said, indent=2) + "\n")
        save_file(
            {k: v.detach().contiguous() for k, v in self.weights().items()},
            str(folder / "model.safetensors"),
            metadata={"format": "pt"},
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Llama:
        """Read what `save_pretrained`, or transformers for a plain Llama, wrote."""
        path = Path(folder) / "config.json"
        try:
            said = json.loads(path.read_text())
            rotary = said.get("rope_parameters") or {}
            scaled = said.get("rope_scaling") or (rotary.get("rope_type", "default") != "default")
            if (
                said["model_type"] != "llama"
                or scaled
                or said.get("attention_bias")
                or said.get("mlp_bias")
            ):
                raise InputError(
                    f"{path} is of another kind than a plain Llama (model_type "
                    f"'{said['model_type']}'); this loader knows no biases and no scaled rotary "
                    "positions"
                )
            config = Config(
                said["vocab_size"],
                said["hidden_size"],
                said["num_hidden_layers"],
                said["num_attention_heads"],
                said.get("num_key_value_heads") or said["num_attention_heads"],
                said["intermediate_size"],
                rope=rotary.get("rope_theta", said.get("rope_theta", 10000.0)),
                eps=said["rms_norm_eps"],
                tied=said["tie_word_embeddings"],
            )
            found = load_file(str(path.with_name("model.safetensors")))
        except (OSError, json.JSONDecodeError, KeyError, TypeError, SafetensorError) as why:
            raise InputError(
                f"{folder} does not hold a readable model ({type(why).__name__}: {str(why)[:80]}); "
                "it needs config.json and model.safetensors of one Llama"
            ) from why
        want = shapes(config)
        wrong = [n for n, s in want.items() if n not in found or tuple(found[n].shape) != s]
        if wrong:
            raise InputError(
                f"{path.with_name('model.safetensors')} and its config.json disagree about "
                f"'{wrong[0]}'; save the model again"
            )
        return cls(config, weights={n: found[n] for n in want})


class Stack(_Named):
    """M Llamas whose weights are stacked, `[M,…]`; member m begins as `Llama(config, rng("member",
    m))`.

    Members are computed in turn: one small model after another stays in the processor's cache, and
    was measured to be faster than M of them in one batched product.
    """

    def __init__(self, config: Config, members: int, rng: Rng):
        each = [initial(config, rng("member", m)) for m in range(members)]
        super().__init__({name: torch.stack([w[name] for w in each]) for name in each[0]})
        self.config, self.members = config, members

    def hidden(
        self, tokens: Int[Tensor, "*M R S"], keep: Bool[Tensor, "*M R S"]
    ) -> Float[Tensor, "M R S W"]:
        """Every member's last norm at every token, of the same rows `[R,S]` or of each member's own
        `[M,R,S]`.
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
        """Member m by itself, in storage of its own."""
        return Llama(
            self.config, weights={k: v.detach()[m].clone() for k, v in self.weights().items()}
        )
