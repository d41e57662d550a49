"""Reward models on representations that a pretraining seed drew and fine-tuning leaves alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Rng, Samples
from assay.errors import InputError
from assay.rewards.fit import Trainable
from assay.rewards.linear import LinearModel, LinearReward, additive


class Encoders(nn.Module):
    """M linear heads, each on a frozen random encoder of tokens.

    A token's score is its `width` < V random numbers times a head. Member m reads through encoder
    m mod `seeds`: with one seed all members read the same and differ by their heads' start and the
    order of pairs; with M seeds each has its own. A narrow encoder confuses tokens, and the seed
    decides which.

    Args:
        members: The number of members M.
        vocabulary: The number of tokens V.
        width: Numbers a token.
        seeds: Different encoders among the members.
        rng: The address of encoders and heads.
    """

    def __init__(self, members: int, *, vocabulary: int, width: int, seeds: int, rng: Rng):
        super().__init__()
        self.members = members
        at = torch.arange(vocabulary)[:, None], torch.arange(width)
        drawn = torch.stack([rng("encoder", s).normal(*at) for s in range(seeds)]) / math.sqrt(
            width
        )
        self.encoder: Tensor
        self.register_buffer("encoder", drawn[torch.arange(members) % seeds])
        self.weight = nn.Parameter(
            0.1 * rng("head").normal(torch.arange(members)[:, None], torch.arange(width))
        )

    def table(self) -> Float[Tensor, "M 1 V"]:
        """Return the members' scores of each token."""
        return torch.einsum("mvd,md->mv", self.encoder, self.weight)[:, None]

    def forward(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N"]:
        table = self.table()
        if isinstance(samples, Samples):
            return additive(table, samples)
        return torch.cat([additive(table[m : m + 1], x) for m, x in enumerate(samples)])

    def freeze(self, names: tuple[str, ...]) -> LinearReward:
        """Return these members as a reward."""
        return LinearReward(self.table().detach().clone(), names)


def pretrained(model: Trainable, *, seeds: int, width: int, rng: Rng) -> Any:
    """Give a world's fresh reward models `seeds` representations, member m number m mod `seeds`.

    Linear models are exchanged for `Encoders`; small Llamas keep their heads and take a backbone
    from one another.

    Args:
        model: The fresh members.
        seeds: Different representations among them.
        width: Numbers a token of `Encoders`.
        rng: The address of `Encoders`.

    Returns:
        The members to fit.

    Raises:
        InputError: `seeds` is not from 1 to the number of members, or these have no representation.
    """
    if not 1 <= seeds <= model.members:
        raise InputError(
            f"{seeds} representations cannot be shared by {model.members} members; give 1 to "
            f"{model.members}"
        )
    if isinstance(model, LinearModel):
        return Encoders(
            model.members, vocabulary=model.table().shape[-1], width=width, seeds=seeds, rng=rng
        )
    assert isinstance(model, nn.Module)
    backbones = [p for name, p in model.named_parameters() if name.startswith("backbone.")]
    if not backbones:
        raise InputError(
            f"a {type(model).__name__} has no backbone that a pretraining seed could draw; fit "
            "linear or small-Llama reward models"
        )
    with torch.no_grad():
        for p in backbones:
            p.copy_(p[torch.arange(model.members) % seeds])
    return model
