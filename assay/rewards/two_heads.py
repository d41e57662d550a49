"""A second head on the features of a reward model: one head for quality, one for what to ignore."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Reward, Rng, Samples
from assay.errors import InputError
from assay.rewards.fit import Trainable


class TwoHeads(nn.Module):
    """Members with a second linear head beside their own.

    `model(samples)` is the sum of both heads; `freeze` keeps the first alone.

    Args:
        model: Members that show what their heads read (`hidden` and `heads`).
        rng: The address of the second heads' first weights.

    Raises:
        InputError: `model` has no `hidden` or no `heads`.
    """

    def __init__(self, model: Trainable, rng: Rng):
        super().__init__()
        if not hasattr(model, "hidden") or not hasattr(model, "heads"):
            raise InputError(
                f"a second head reads the features of the first one, and a {type(model).__name__} "
                "does not give them; fit linear or small-Llama reward models"
            )
        self.model: Any = model
        self.members = model.members
        heads = self.model.heads()
        draw = rng("second head").normal(torch.arange(heads.numel())).reshape(heads.shape)
        self.second = nn.Parameter((draw / math.sqrt(heads.shape[1])).to(heads.dtype))

    def both(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N 2"]:
        """Score completions by each head, from one forward pass."""
        hidden = self.model.hidden(samples)
        heads = (self.model.heads(), self.second)
        return torch.stack([torch.einsum("mbnh,mh->mbn", hidden, w) for w in heads], -1)

    def forward(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N"]:
        return self.both(samples).sum(-1)

    def alignment(self) -> Float[Tensor, "M"]:
        """|cosine| of the two heads of each member; its gradient is finite where a head is 0."""
        a, b = self.model.heads(), self.second
        norms = a.square().sum(-1) * b.square().sum(-1)
        live = norms > 0
        return torch.where(live, (a * b).sum(-1).abs() / torch.where(live, norms, 1.0).sqrt(), 0.0)

    def freeze(self, names: tuple[str, ...]) -> Reward:
        """Return the first heads as a reward."""
        frozen: Reward = self.model.freeze(names)
        return frozen
