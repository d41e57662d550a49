"""A user's own open model, used without changing it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from assay.models.backbones.adapter_merge import merged_copy


@dataclass(frozen=True)
class LiveModel:
    """A model that is open already, with its tokenizer.

    Attributes:
        model: A transformers model, or a peft model around one.
        tokenizer: Its tokenizer; None for the one that is saved where the model came from.
    """

    model: Any
    tokenizer: Any = None

    @property
    def name(self) -> str:
        """What a record calls it: where it was loaded from, else its class."""
        inner = self.model.get_base_model() if self.is_peft else self.model
        return str(getattr(inner, "name_or_path", "") or type(inner).__name__)

    @property
    def is_peft(self) -> bool:
        """Whether it carries adapters of peft."""
        return hasattr(self.model, "merge_and_unload")


def borrowed(live: LiveModel, *, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """Return a model of one's own that shares the weights of a live one where it can.

    The live model keeps its mode, its device, its dtype, its hooks and which weights it trains.
    Weights are copied only where dtype or device differ, and where adapters are merged. Whoever
    gets the result must not write to its weights: a policy that is trained copies them.

    Args:
        live: The model.
        dtype: Of floating-point weights. Quantized weights stay as they are.
        device: Where the result computes.

    Returns:
        The model, in evaluation mode, with no weight that requires a gradient.
    """
    if live.is_peft:
        own: Any = merged_copy(live.model)
    else:
        tensors = [*live.model.parameters(), *live.model.buffers()]
        shared = {
            id(t): nn.Parameter(t.detach(), requires_grad=False)
            if isinstance(t, nn.Parameter)
            else t.detach()
            for t in tensors
        }
        own = copy.deepcopy(live.model, shared)
    if not getattr(own, "is_quantized", False):
        for weight in own.parameters():
            if weight.is_floating_point():
                weight.data = weight.data.to(dtype)
        own = own.to(device)
    made: nn.Module = own.requires_grad_(False).eval()
    return made
