"""The layers of a transformers decoder: hidden states of rows, of packed groups, of completions.

Positions are given, counted over kept tokens, so that padding on either side changes nothing. Where
a family allows it a prompt is computed once for all of its completions (`packed_groups`); elsewhere
rows are whole, a prompt and one completion, padded on the right.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.errors import InputError
from assay.models.backbones.activation_hooks import activations
from assay.models.backbones.compiled_layers import compiled_layers
from assay.models.backbones.completion_passes import by_group, row_by_row
from assay.models.backbones.in_step import Division, announce, uneven_passes
from assay.models.backbones.layer_progress import by_layer, layers_of
from assay.models.backbones.matmul import ROWS, linears
from assay.models.backbones.packed_groups import PackedGroups
from assay.models.backbones.recomputed import computed_again
from assay.models.backbones.shared_pass import Attention, attending, reason_against

log = logging.getLogger("assay")


class Body(nn.Module):
    """A transformers model without its head.

    Whatever the model computes in, hidden states come out in float32 at least.

    Args:
        model: A causal model or a classifier.
        checkpointing: Where a gradient is wanted, layers save their inputs alone and are computed
            again in the backward pass.

    Attributes:
        compiled: Whether layers are computed by torch.compile, but where completions are drawn.
        width: Of the last hidden states.
        recall: Called before a layer is computed, the second time too.

    Raises:
        InputError: The model has no layers to checkpoint.
    """

    def __init__(self, model: nn.Module, *, checkpointing: bool = False):
        super().__init__()
        self.model: Any
        self.add_module("model", model)
        self.checkpointing, self.compiled, self.recall = checkpointing, False, _nothing
        self.lean: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.division: Division | None = None  # of weights over processes
        self.rounded: torch.dtype | None = None  # what divided weights are gathered as
        if checkpointing and not layers_of(model):
            raise InputError(
                f"a {self.model.config.model_type} model has no layers that could be computed "
                "again; leave out --checkpointing"
            )
        self.width = int(self.model.config.get_text_config().hidden_size)

    @property
    def like(self) -> Tensor:
        """A tensor of the dtype and on the device of what is computed."""
        weight = self.model.get_input_embeddings().weight
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
        return torch.empty(0, dtype=wide, device=weight.device)

    @property
    def computing_dtype(self) -> torch.dtype:
        """What the model computes in."""
        found: torch.dtype = self.rounded or next(self.model.parameters()).dtype
        return found

    @property
    def half_precision(self) -> bool:
        """Whether the model computes in bfloat16 or float16."""
        return self.computing_dtype in (torch.bfloat16, torch.float16)

    def rows(self, tokens: Int[Tensor, "R S"], keep: Bool[Tensor, "R S"]) -> Float[Tensor, "R S W"]:
        """Compute the last norm's output of rows that are padded on the right.

        Args:
            tokens: Token ids.
            keep: False for padding.
        """
        places = (keep.cumsum(-1) - 1).clamp(min=0)
        return self._hidden(nullcontext, tokens, places, keep.long(), compiled=self.compiled)

    def groups(self, tokens: Int[Tensor, "n"], groups: PackedGroups) -> Float[Tensor, "n W"]:
        """Compute the last norm's output of packed groups.

        Args:
            tokens: Token ids, as `groups.packed` lays them out.
            groups: Who sees whom among them.
        """
        return self.packed(tokens, groups.places, groups, compiled=self.compiled)

    def packed(
        self,
        tokens: Int[Tensor, "n"],
        places: Int[Tensor, "n"],
        attention: Attention,
        *,
        compiled: bool = False,
    ) -> Float[Tensor, "n W"]:
        """Compute the last norm's output of one packed row.

        Args:
            tokens: Token ids.
            places: Their positions.
            attention: Called once a layer, as PackedGroups is.
            compiled: Compute layers by torch.compile.
        """
        around = functools.partial(attending, self.model, attention)
        return self._hidden(around, tokens[None], places[None], None, compiled=compiled)[0]

    @property
    def shares_prompts(self) -> bool:
        """Whether a pass saves a prompt once: where scores are capped, it saves all of them."""
        capped = getattr(self.model.config.get_text_config(), "attn_logit_softcapping", None)
        return not self.plain_because and not capped

    @property
    def key_bytes(self) -> int:
        """Bytes of one token's keys and values, in all layers."""
        config = self.model.config.get_text_config()
        heads = config.num_attention_heads
        each = getattr(config, "head_dim", None) or config.hidden_size // heads
        keys = getattr(config, "num_key_value_heads", None) or heads
        return int(config.num_hidden_layers * keys * each * 2 * self.computing_dtype.itemsize)

    def _hidden(
        self,
        around: Callable[[], AbstractContextManager[Any]],
        tokens: Int[Tensor, "R S"],
        places: Int[Tensor, "R S"],
        mask: Int[Tensor, "R S"] | None,
        *,
        compiled: bool,
    ) -> Float[Tensor, "R S W"]:
        """Compute the last norm's output; `around` holds whenever a layer is computed."""

        @contextmanager
        def within() -> Iterator[None]:
            if compiled:  # the compiler joins what our own products would
                with around():
                    yield
                return
            fast = linears(self.model) if tokens.numel() >= ROWS else nullcontext()
            with around(), self.lean(), fast:
                yield

        again = self.checkpointing and torch.is_grad_enabled()
        saving = computed_again(self.model, self.recall, within) if again else nullcontext()
        faster = compiled_layers(self.model) if compiled else nullcontext()
        with faster, saving, within(), by_layer(self.model):
            return self._wide(
                self.computed(
                    input_ids=tokens, attention_mask=mask, position_ids=places, use_cache=False
                )
            )

    def computed(self, **given: Any) -> Float[Tensor, "R S W"]:
        """Compute the model without its head: every pass of the layers goes through here."""
        announce(self)
        return self.layers(**given)

    def layers(self, **given: Any) -> Float[Tensor, "R S W"]:
        """Compute the same, where no process waits to be told."""
        out: Tensor = self.model.base_model(**given).last_hidden_state
        return out

    def own_pass(self, **given: Any) -> Any:
        """Compute the whole model's own forward pass."""
        announce(self)
        return self.whole_model(**given)

    def whole_model(self, **given: Any) -> Any:
        """Compute the same, where no process waits to be told."""
        return self.model(**given)

    @staticmethod
    def _wide(hidden: Tensor) -> Tensor:
        return hidden if hidden.dtype == torch.float64 else hidden.float()

    def hidden_states(
        self,
        prompt: Int[Tensor, "B P"],
        prompt_keep: Bool[Tensor, "B P"],
        completion: Int[Tensor, "B N T"],
        keep: Bool[Tensor, "B N T"],
    ) -> tuple[Float[Tensor, "n W"], Int[Tensor, "B N T1"]]:
        """Compute the hidden states of every row's kept tokens, see Backbone.hidden_states.

        A prompt is computed once for all of its completions, where the family allows it.
        """
        how = row_by_row if self.plain_because else by_group
        with uneven_passes(self):
            return how(self, prompt, prompt_keep, completion, keep)

    activations = activations  # see Backbone.hidden_states

    @functools.cached_property
    def plain_because(self) -> str:
        """Why a prompt is computed once for each of its completions; "" where it is not."""
        compiled, self.compiled = self.compiled, False  # two small passes are not worth it
        try:
            why = reason_against(self)
        finally:
            self.compiled = compiled
        if why:
            kind = self.model.config.model_type
            log.info("a %s model's prompts are computed once for each completion: %s", kind, why)
        return why


def _nothing() -> None:
    """Restore nothing before a layer is computed again."""
