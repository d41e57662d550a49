"""A model within another trainer: its trained weights, its weights of an earlier step, and its
forward pass without what the trainer has laid around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from assay.models.backbones.pretrained import Pretrained


class PastBackbone(nn.Module):
    """A backbone with the weights of an earlier step, without a copy of the whole model.

    The trained weights are swapped in while it reads, and the present ones put back after.

    Args:
        backbone: The backbone as it is.
        then: The trained weights of the earlier step.
    """

    def __init__(self, backbone: Pretrained, then: Mapping[str, Tensor]):
        super().__init__()
        self.width, self.like, self.then = backbone.width, backbone.like, dict(then)
        self.backbones = [backbone]  # in a list: its weights are not this module's

    @contextmanager
    def _then(self) -> Iterator[Pretrained]:
        (backbone,) = self.backbones
        now = trained_weights(backbone.model)
        set_weights(backbone.model, self.then)
        try:
            yield backbone
        finally:
            set_weights(backbone.model, now)

    def hidden_states(
        self, prompt: Tensor, prompt_keep: Tensor, completion: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Pretrained`."""
        with self._then() as backbone:
            return backbone.hidden_states(prompt, prompt_keep, completion, keep)

    def logits(self, hidden: Tensor) -> Tensor:
        """See `Pretrained`."""
        with self._then() as backbone:
            return backbone.logits(hidden)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Within, the model computes as its weights are, and may be set to evaluation.

    The autocast that accelerate lays around the forward pass is taken off. At the end, forward
    pass, modes and dropout are put back as they were.
    """
    wrapped = model.__dict__.pop("forward", None)
    modes = [(m, m.training) for m in model.modules()]
    drops = [(m, m.p) for m in model.modules() if isinstance(m, nn.Dropout)]
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped
        for m, training in modes:
            m.training = training
        for d, p in drops:
            d.p = p


def base_model(model: Any) -> Any:
    """The model within an adapter's wrapper (its layers keep the adapter), or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def trained_weights(model: nn.Module, *, device: torch.device | None = None) -> dict[str, Tensor]:
    """A copy of every parameter that is trained.

    Args:
        model: The model.
        device: Where the copies are made; None for where the parameters are.
    """
    return {
        k: p.detach().to(device, copy=True) for k, p in model.named_parameters() if p.requires_grad
    }


def trained_bytes(model: nn.Module) -> int:
    """Bytes of all parameters that are trained."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def set_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set the parameters that `weights` names; the others stay."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in weights:
                p.copy_(weights[name])
