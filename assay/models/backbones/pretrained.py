"""Any causal language model of transformers as a backbone.

`body` has its layers. The head is applied to hidden states by itself, so that only the wanted
logits are made; what a family does after it (soft caps, scales) is done here too, and at opening
the result is compared with the model's own forward pass: a family that does something unknown
raises an error.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.errors import InputError
from assay.formulas.token_logps import LogitTransform, token_logps
from assay.models.backbones.body import Body
from assay.models.backbones.group_past import GroupPast
from assay.models.backbones.in_step import with_ends
from assay.models.backbones.layer_progress import by_layer
from assay.models.backbones.packed_groups import PackedGroups
from assay.models.backbones.soft_inputs import embedded


class Pretrained(Body):
    """A transformers causal model.

    Whatever the model computes in, hidden states come out in float32 at least, and so does all that
    is made of them: log-probabilities of three digits would make every ratio wrong.

    Args:
        model: The model; its dropout is turned off.
        checkpointing: Where a gradient is wanted, layers save their inputs alone and are computed
            again in the backward pass.
        compiled: Compute layers by torch.compile, but where completions are drawn.
        checked: Compare the logits made here with the model's own; without weights to compute with,
            `same_as_its_own` is called later.

    Attributes:
        width: Of the last hidden states.

    Raises:
        InputError: The model's logits are not those of its head, its cache is one of its own, or it
            has no layers to checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        checkpointing: bool = False,
        compiled: bool = False,
        checked: bool = True,
    ):
        super().__init__(model, checkpointing=checkpointing)
        self.model.eval()  # dropout off, in training too: a ratio compares a policy with itself
        for module in self.model.modules():
            if isinstance(module, nn.Dropout) and module.p:
                module.p = 0.0
        config = self.model.config.get_text_config()
        if "cache_params" in inspect.signature(self.model.base_model.forward).parameters:
            raise InputError(
                f"a {config.model_type} model does not keep what it has read in transformers' "
                "cache of keys and values, from which completions go on; it cannot be a policy"
            )
        self.cap, self.scale = getattr(config, "final_logit_softcapping", None), _scale(config)
        if checked:
            self.same_as_its_own()
        self.compiled = compiled

    def same_as_its_own(self) -> None:
        """Compare the logits made here with the model's own, on a few tokens.

        Raises:
            InputError: They differ.
        """
        device = next(self.model.parameters()).device
        tokens = (
            torch.arange(3, 8, device=device)[None]
            % self.model.get_input_embeddings().num_embeddings
        )
        with torch.no_grad():
            own = self.own_pass(input_ids=tokens).logits.float()
            mine = self.logits(self.rows(tokens, torch.ones_like(tokens, dtype=torch.bool))).float()
        worst = float((own - mine).abs().max())
        near = 2e-2 if self.half_precision else 1e-3  # a soft cap is taken in
        if not worst <= near * max(1.0, float(own.abs().max())):  # float32 here
            raise InputError(
                f"a {self.model.config.model_type} model makes its logits in a way that is not "
                f"known here (they differ by {worst:.3g} from its own forward pass); it cannot be "
                "used as a policy"
            )

    @torch.no_grad()
    def prefill(
        self,
        prompt: Int[Tensor, "B P"],
        keep: Bool[Tensor, "B P"],
        owner: Int[Tensor, "R"],
        room: int,
    ) -> tuple[Float[Tensor, "B W"], Cache]:
        """Compute prompts once and begin completions of them, see Backbone.prefill."""
        if self.plain_because:
            return self._prefill_rows(prompt, keep, owner)
        groups = PackedGroups(keep, keep.new_zeros(len(keep), 1, 0))
        past = GroupPast(keep, owner)
        tokens = groups.packed(prompt, prompt.new_zeros(len(keep), 1, 0))
        hidden = self.packed(tokens, groups.places, past.reading(groups))
        past.select(torch.arange(len(owner), device=owner.device))
        return hidden[keep.sum(-1).cumsum(0) - 1], past

    def _prefill_rows(
        self, prompt: Int[Tensor, "B P"], keep: Bool[Tensor, "B P"], owner: Int[Tensor, "R"]
    ) -> tuple[Float[Tensor, "B W"], Past]:
        from transformers import DynamicCache

        kv = DynamicCache(config=self.model.config)
        with self.lean(), by_layer(self.model):
            out = self.computed(
                input_ids=torch.where(keep, prompt, prompt[:, -1:]),
                attention_mask=keep.long(),
                position_ids=(keep.cumsum(-1) - 1).clamp(min=0),
                past_key_values=kv,
                use_cache=True,
            )
        past = Past(kv, keep)
        past.select(owner)
        return self._wide(out[:, -1]), past

    @torch.no_grad()
    def extend(
        self, cache: Cache, tokens: Int[Tensor, "R S"], keep: Bool[Tensor, "R S"]
    ) -> Float[Tensor, "R S W"]:
        """Add S columns to every row of a cache, see Backbone.extend."""
        if isinstance(cache, GroupPast):
            new = cache.columns(keep)
            places = cache.places[:, -keep.shape[1] :].flatten()
            return self.packed(tokens.flatten(), places, new).view(*tokens.shape, -1)
        if keep.shape[1] > 1 and any(
            hasattr(layer, "recurrent_states") for layer in cache.kv.layers
        ):
            raise InputError(
                f"a {self.model.config.model_type} model does not go on from completions that are "
                "begun: its layers keep a state, which would take padding for tokens; use a model "
                "of attention alone, or a recipe that draws whole completions"
            )
        places = cache.mask.sum(-1, keepdim=True) + (keep.cumsum(-1) - 1).clamp(min=0)
        cache.mask = torch.cat([cache.mask, keep], -1)
        with self.lean():
            out = self.computed(
                input_ids=tokens,
                attention_mask=cache.mask.long(),
                position_ids=places,
                past_key_values=cache.kv,
                use_cache=True,
            )
        return self._wide(out)

    def embedded(self, ids: Int[Tensor, "*n"]) -> Float[Tensor, "*n W"]:
        """Return what the embedding layer makes of tokens, without gradient."""
        return embedded(self.model, ids)

    def token_logps(
        self,
        hidden: Float[Tensor, "n W"],
        taken: Int[Tensor, "n"],
        transform: LogitTransform,
        early: Bool[Tensor, "n"] | None = None,
    ) -> Float[Tensor, "n"] | None:
        """Compute log π of the tokens taken, in a fraction of the memory that logits need.

        Args:
            hidden: The hidden state that each token follows, `[n,W]`.
            taken: Token ids, `[n]`.
            transform: Temperature and suppressed tokens; scale and soft cap are the model's own.
            early: Where `transform.suppressed_early` applies, `[n]`. Default: nowhere.

        Returns:
            `[n]`; None where the head is no plain linear layer (has an adapter, or is quantised).
        """
        with_ends(self)
        head = self.model.get_output_embeddings()
        if type(head) is not nn.Linear or not head.weight.is_floating_point():
            return None
        transform = replace(transform, scale=self.scale, softcap=self.cap)
        out: Tensor = token_logps(
            hidden, head.weight, taken, bias=head.bias, transform=transform, early=early
        )
        return out

    def logits(self, hidden: Float[Tensor, "*n W"]) -> Float[Tensor, "*n V"]:
        """Return unnormalised log-probabilities of the next token, in float32 at least."""
        with_ends(self)
        head = self.model.get_output_embeddings()
        out = self._wide(head(hidden.to(head.weight.dtype))) * self.scale
        return out if not self.cap else torch.tanh(out / self.cap) * self.cap


class Past:
    """Keys and values of completions in the making, and which columns each row keeps."""

    def __init__(self, kv: Any, mask: Bool[Tensor, "R S"]):
        self.kv, self.mask = kv, mask
        self.added: Any = None  # weights with an adapter's change, see Adapted

    def select(self, rows: Int[Tensor, "r"]) -> None:
        """Keep these rows, in this order; a row may be taken twice."""
        self.kv.reorder_cache(rows)  # batch_select_indices forgets states that are no keys
        self.mask = self.mask[rows]


Cache = Past | GroupPast


def _scale(config: Any) -> float:
    """Return what logits are multiplied by after the head: Cohere multiplies, Granite divides."""
    return float(getattr(config, "logit_scale", None) or 1.0) / float(
        getattr(config, "logits_scaling", None) or 1.0
    )
