"""A second head on what judges read: one for the quality that is to be followed, one for what is to
be kept out of it.
"""

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
    """Members with a second linear head beside their own. `model(samples)` is the sum of both; what
    is frozen is the first.
    """

    def __init__(self, model: Trainable, rng: Rng):
        super().__init__()
        if not hasattr(model, "hidden") or not hasattr(model, "heads"):
            raise InputError(
                "a second head needs to see what the first one reads, and a "
                f"{type(model).__name__} does not show it; fit linear or small-Llama judges"
            )
        self.model: Any = model
        self.members = model.members
        heads = self.model.heads()
        start = rng("second head").normal(torch.arange(heads.numel())).reshape(
            heads.shape
        ) / math.sqrt(heads.shape[1])
        self.second = nn.Parameter(start.to(heads.dtype))

    def both(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N 2"]:
        """The two heads' scores, from one reading of the answers."""
        hidden = self.model.hidden(samples)
        return torch.stack(
            [torch.einsum("mbnh,mh->mbn", hidden, w) for w in (self.model.heads(), self.second)], -1
        )

    def forward(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N"]:
        return self.both(samples).sum(-1)

    def alignment(self) -> Float[Tensor, "M"]:
        """|cosine| of the two heads, a member; its gradient is finite where a head is 0."""
        a, b = self.model.heads(), self.second
        norms = a.square().sum(-1) * b.square().sum(-1)
        live = norms > 0
        return torch.where(live, (a * b).sum(-1).abs() / torch.where(live, norms, 1.0).sqrt(), 0.0)

    def freeze(self, names: tuple[str, ...]) -> Reward:
        """The first head alone."""
        frozen: Reward = self.model.freeze(names)
        return frozen
