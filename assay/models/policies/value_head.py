"""A linear head on a backbone: critics, process rewards, reward models."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Rng, Samples
from assay.models.backbones.backbone import like, read


class ValueHead(nn.Module):
    """k values before each decision of a completion and after the last."""

    def __init__(self, backbone: Any, k: int, rng: Rng):
        """Draw the head's weights by address; the backbone is taken as it is.

        Args:
            backbone: Any Backbone; it is trained with the head where it requires a gradient.
            k: Outputs.
            rng: The address of the first weights.
        """
        super().__init__()
        self.backbone: Any = backbone
        j, w = torch.arange(k)[:, None], torch.arange(backbone.width)
        first = rng("head").normal(j, w) / (backbone.width + 1) ** 0.5
        self.weight = nn.Parameter(first.to(like(backbone)))
        self.bias = nn.Parameter(like(backbone).new_zeros(k))

    def forward(self, samples: Samples) -> Float[Tensor, "B N T1 k"]:
        """Compute the values.

        Args:
            samples: Completions.

        Returns:
            Entry t has read what came before decision t (0: the prompt, T: all). Entries after a
            completion's end repeat its last one, for the reader to mask.
        """
        hidden, before = read(self.backbone, samples, samples.mask | samples.given)
        return F.embedding(before, F.linear(hidden, self.weight, self.bias))
