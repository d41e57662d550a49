"""A backbone that computes in bfloat16 and is trained in float32.

A bfloat16 number has eight bits: a step smaller than 1/256 of a weight is rounded away, and at the
learning rates of post-training nearly every step is. So the weights that an optimiser sees, their
gradients and its state are float32, and the model computes with their rounded copy, which is
refreshed when they have changed. At the start the copy is the model that was given, bit for bit.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from assay.errors import InputError
from assay.models.backbones.pretrained import Cache, Pretrained

_STEPS = [0]  # of any optimiser in this process: a fused step leaves no trace in a tensor's version


def _counted(*_: Any) -> None:
    _STEPS[0] += 1


register_optimizer_step_post_hook(_counted)


def optimiser_steps() -> int:
    """Count the steps that all optimisers of this process have made."""
    return _STEPS[0]


class MasterWeights(nn.Module):
    """A backbone with float32 weights; they are all that is trained, saved and loaded.

    Args:
        like: The backbone that computes; it is copied.

    Attributes:
        model: The float32 weights, by the model's own names.
    """

    def __init__(self, like: Pretrained):
        super().__init__()
        self.model: Any
        self.add_module("model", copy.deepcopy(like.model).float())
        self.model.requires_grad_(True)
        # in a tuple: it is no submodule, so that its weights are not among the parameters
        self._work = (copy.deepcopy(like),)
        self.width = like.width
        self._both = [
            (m, w)
            for m, w in zip(self.model.parameters(), self._work[0].model.parameters(), strict=True)
        ]
        self._seen: list[int] = []
        for m, w in self._both:
            w.requires_grad_(True).register_post_accumulate_grad_hook(_handed(m))

    @property
    def like(self) -> Tensor:
        """A tensor of the dtype and on the device of what is computed."""
        return self._work[0].like

    def rounded_state(self) -> dict[str, Tensor]:
        """Return the weights that the model computes with, by the names of `state_dict`.

        Loaded again they are the same function, at half the size; training goes on from the
        float32 weights alone.
        """
        found: dict[str, Tensor] = self._current().state_dict()
        return found

    @property
    def computes_with(self) -> Pretrained:
        """The model of rounded weights, as they are now."""
        return self._current()

    def twin(self) -> MasterWeights:
        """Return the same function with float32 weights of its own, copies of these."""
        other = MasterWeights(self._current())
        other.load_state_dict(self.state_dict())
        return other

    @torch.no_grad()
    def _current(self) -> Pretrained:
        """Return the rounded copy of the weights as they are now."""
        now = [_STEPS[0], *(m._version for m, _ in self._both)]
        if any(p is not m for p, (m, _) in zip(self.model.parameters(), self._both, strict=True)):
            raise InputError(
                "this recipe computes with exchanged weights, and a policy in bfloat16 cannot "
                "follow it; use --dtype float32"
            )
        if now != self._seen:
            for m, w in self._both:
                w.copy_(m)
            self._seen = now
        for m, w in self._both:
            if w.requires_grad != m.requires_grad:
                w.requires_grad_(m.requires_grad)
        return self._work[0]

    def hidden_states(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """See Pretrained."""
        return self._current().hidden_states(*given)

    def activations(self, *given: Any) -> tuple[Tensor, Tensor, list[int]]:
        """See Pretrained."""
        return self._current().activations(*given)

    def prefill(
        self, prompt: Tensor, keep: Tensor, owner: Tensor, room: int
    ) -> tuple[Tensor, Cache]:
        """See Pretrained."""
        return self._current().prefill(prompt, keep, owner, room)

    def extend(self, cache: Cache, tokens: Tensor, keep: Tensor) -> Float[Tensor, "R S W"]:
        """See Pretrained. The weights are those of `prefill`: none changes while decoding."""
        return self._work[0].extend(cache, tokens, keep)

    def token_logps(self, *given: Any, **named: Any) -> Tensor | None:
        """See Pretrained."""
        return self._work[0].token_logps(*given, **named)

    def logits(self, hidden: Float[Tensor, "*n W"]) -> Float[Tensor, "*n V"]:
        """See Pretrained."""
        return self._work[0].logits(hidden)

    def merged(self) -> Any:
        """Return the plain transformers model that computes, in storage of its own."""
        return copy.deepcopy(self._current().model)


def compute_rounded(module: nn.Module, dtype: torch.dtype) -> None:
    """Let a module with float32 weights compute as its copy in a smaller dtype would.

    Its weights are rounded in every pass, and gradients reach the float32 weights: as
    MasterWeights does for a whole model. `computes_as_stored` undoes it.

    Args:
        module: The module; its inputs are rounded too.
        dtype: bfloat16 or float16.
    """
    worker = copy.copy(module)  # shares the weights, and has the class's own forward

    def forward(*given: Any, **named: Any) -> Any:
        weights = {n: p.to(dtype) for n, p in worker.named_parameters()}
        own = [x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in given]
        return torch.func.functional_call(worker, weights, tuple(own), named)

    module.forward = forward  # type: ignore[method-assign]


def computes_as_stored(module: nn.Module) -> None:
    """Undo `compute_rounded`; of a copy too, whose computation is still that of the first."""
    module.__dict__.pop("forward", None)


def _handed(master: nn.Parameter) -> Any:
    """Make a hook that adds a rounded weight's gradient to that of the float32 weight."""

    def hand(rounded: Tensor) -> None:
        assert rounded.grad is not None
        master.grad = (
            rounded.grad.to(master.dtype) if master.grad is None else master.grad.add_(rounded.grad)
        )
        rounded.grad = None

    return hand
