"""Velocity fields of flows: a mixture's, which is known, and small networks.

A velocity is a module: `module(x [M,D], t [M], condition [M]) → [M,D]`; a condition is a number
from 0 to C − 1.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.core.rng import Rng
from assay.formulas.flow import mixture_velocity

FREQUENCIES = 4


def time_features(t: Float[Tensor, "M"]) -> Float[Tensor, "M F"]:
    """Sines and cosines of t at 1, 2, 4 and 8 half turns, and t itself."""
    turns = math.pi * t[:, None] * 2.0 ** torch.arange(FREQUENCIES, device=t.device)
    return torch.cat([turns.sin(), turns.cos(), t[:, None]], -1)


def seeded_linear(inputs: int, outputs: int, rng: Rng) -> nn.Linear:
    """A linear layer whose weights are normal, of variance 1/inputs, at an address; bias 0."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    i, o = torch.arange(inputs), torch.arange(outputs)[:, None]
    with torch.no_grad():
        layer.weight.copy_(rng("weight").normal(o, i) / math.sqrt(inputs))
        layer.bias.zero_()
    return layer


class ConditionedNetwork(nn.Module):
    """Two hidden layers over a point, its time and its condition.

    Args:
        dim: D.
        conditions: C.
        width: Of the hidden layers.
        outputs: Of the last layer, whose weights begin at 0 where `quiet`.
        rng: Address of the weights.
        quiet: Begin as the function 0.
    """

    def __init__(
        self, dim: int, conditions: int, width: int, outputs: int, rng: Rng, *, quiet: bool = False
    ):
        super().__init__()
        self.conditions = conditions
        inputs = dim + 2 * FREQUENCIES + 1 + conditions
        self.first = seeded_linear(inputs, width, rng("layer", 0))
        self.second = seeded_linear(width, width, rng("layer", 1))
        self.last = seeded_linear(width, outputs, rng("layer", 2))
        if quiet:
            with torch.no_grad():
                self.last.weight.zero_()

    def forward(
        self, x: Float[Tensor, "M D"], t: Float[Tensor, "M"], condition: Int[Tensor, "M"]
    ) -> Float[Tensor, "M K"]:
        which = nn.functional.one_hot(condition, self.conditions).to(x.dtype)
        h = torch.cat([x, time_features(t), which], -1)
        h = nn.functional.silu(self.first(h))
        out: Tensor = self.last(nn.functional.silu(self.second(h)))
        return out


class MixtureVelocity(nn.Module):
    """The velocity of a mixture of round Gaussians, and a network that is added to it.

    The network begins as 0, so that the untrained policy's law is the mixture itself.

    Args:
        log_weights: Of each condition's components `[C, K]`.
        centres: `[K, D]`.
        std: Deviation of each component.
        width: Of the network's layers.
        rng: Address of the network's weights.
    """

    log_weights: Tensor
    centres: Tensor

    def __init__(
        self,
        log_weights: Float[Tensor, "C K"],
        centres: Float[Tensor, "K D"],
        *,
        std: float,
        width: int,
        rng: Rng,
    ):
        super().__init__()
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("centres", centres)
        self.std = std
        C, D = len(log_weights), centres.shape[1]
        self.added = ConditionedNetwork(D, C, width, D, rng, quiet=True)

    def forward(
        self, x: Float[Tensor, "M D"], t: Float[Tensor, "M"], condition: Int[Tensor, "M"]
    ) -> Float[Tensor, "M D"]:
        known = mixture_velocity(x, t, self.log_weights[condition], self.centres, std=self.std)
        out: Tensor = known + self.added(x, t, condition)
        return out
