"""Adam with warm-up and gradient clipping, as one object with a `state_dict`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from assay.engine.shards import placed, sides, total_norm


class Optimiser:
    """torch's fused Adam with linear warm-up, stepped by `descend` alone.

    Args:
        parameters: To update.
        lr: Learning rate after warm-up.
        warmup: Updates over which the learning rate rises linearly; then it stays.
        clip: Gradients are clipped to this global norm; infinity for no clipping.
        decayed: Those of the parameters that shrink by `weight_decay`.
        weight_decay: Share of a decayed parameter that an update takes away, times the learning
            rate; apart from Adam's moments, as in AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        warmup: int = 0,
        clip: float = 1.0,
        decayed: Iterable[Tensor] = (),
        weight_decay: float = 0.0,
    ):
        self.parameters = list(parameters)
        self.lr, self.warmup, self.clip, self.updates = lr, warmup, clip, 0
        self.decayed, self.weight_decay = list(decayed), weight_decay
        groups = [{"params": side} for side in sides(self.parameters)] or self.parameters
        self.adam = torch.optim.Adam(groups, lr=lr, fused=True)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        self.adam.zero_grad(set_to_none=True)

    @property
    def rate(self) -> float:
        """The learning rate of the last update."""
        return self.lr * min(1.0, self.updates / max(1, self.warmup))

    def norm(self) -> Tensor:
        """Compute the gradient's global norm before clipping.

        All processes call it together.
        """
        return total_norm(p.grad for p in self.parameters if p.grad is not None)

    def step(self, norm: Tensor) -> None:
        """Make one update, with the gradients that are there.

        Args:
            norm: Their global norm.
        """
        if self.clip < math.inf:
            for side in sides(self.parameters):
                torch.nn.utils.clip_grads_with_norm_(side, self.clip, norm)
        self.updates += 1
        for group in self.adam.param_groups:
            group["lr"] = self.rate
        for p in self.decayed:
            p.detach().mul_(1 - self.rate * self.weight_decay)
        self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the count of updates and Adam's moments, by the order of the parameters."""
        state = self.adam.state_dict()["state"]
        moments = {i: state[at] for i, at in enumerate(self._places()) if at in state}
        return {"updates": self.updates, "adam": moments}

    def state_bytes(self) -> int:
        """Count the bytes of the state once every parameter has its two moments."""
        return 2 * sum(p.numel() * p.element_size() for p in self.parameters)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in however many processes it was made."""
        self.updates = state["updates"]
        moments = {
            at: {k: placed(v, p) for k, v in state["adam"][i].items()}
            for i, (p, at) in enumerate(zip(self.parameters, self._places(), strict=True))
            if i in state["adam"]
        }
        self.adam.load_state_dict(
            {"state": moments, "param_groups": self.adam.state_dict()["param_groups"]}
        )

    def restart(self) -> None:
        """Forget the moments and the count of updates: warm-up begins again."""
        self.load_state_dict({"updates": 0, "adam": {}})

    def _places(self) -> list[int]:
        """Where Adam has each parameter: it takes whole ones and divided ones in two groups."""
        there = [p for group in self.adam.param_groups for p in group["params"]]
        at = {id(p): i for i, p in enumerate(there)}
        return [at[id(p)] for p in self.parameters]
