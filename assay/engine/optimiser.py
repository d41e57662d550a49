"""Adam with warm-up and gradient clipping, as one object with a `state_dict`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Optimiser:
    """torch's fused Adam with linear warm-up, stepped by `descend` alone.

    Args:
        parameters: To update.
        lr: Learning rate after warm-up.
        warmup: Updates over which the learning rate rises linearly; then it stays.
        clip: Gradients are clipped to this global norm; infinity for no clipping.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float, warmup: int = 0, clip: float = 1.0
    ):
        self.parameters = list(parameters)
        self.lr, self.warmup, self.clip, self.updates = lr, warmup, clip, 0
        self.adam = torch.optim.Adam(self.parameters, lr=lr, fused=True)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        self.adam.zero_grad(set_to_none=True)

    @property
    def rate(self) -> float:
        """The learning rate of the last update."""
        return self.lr * min(1.0, self.updates / max(1, self.warmup))

    def norm(self) -> Tensor:
        """Compute the gradient's global norm before clipping."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        return torch.nn.utils.get_total_norm(grads)

    def step(self, norm: Tensor) -> None:
        """Make one update, with the gradients that are there.

        Args:
            norm: Their global norm.
        """
        if self.clip < math.inf:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        self.updates += 1
        for group in self.adam.param_groups:
            group["lr"] = self.rate
        self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the count of updates and Adam's moments."""
        return {"updates": self.updates, "adam": self.adam.state_dict()["state"]}

    def state_bytes(self) -> int:
        """Count the bytes of the state once every parameter has its two moments."""
        return 2 * sum(p.numel() * p.element_size() for p in self.parameters)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.updates = state["updates"]
        self.adam.load_state_dict(
            {"state": state["adam"], "param_groups": self.adam.state_dict()["param_groups"]}
        )
