"""Reward models of the table world that learn what their heads read: one hidden layer on counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Rng, Samples
from assay.rewards.linear import LinearModel


class Hidden(nn.Module):
    """tanh(x·W_m + b_m), a layer for each member.

    Args:
        members: Members M.
        inputs: Numbers that are read D.
        width: Hidden units W.
        rng: Address of the first weights; member m's are `rng("member", m)` alone.
    """

    def __init__(self, members: int, inputs: int, width: int, rng: Rng):
        super().__init__()
        place = torch.arange(inputs)[:, None], torch.arange(width)
        each = [rng("member", m)("hidden").normal(*place) for m in range(members)]
        self.weight = nn.Parameter(torch.stack(each) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(members, width))

    def forward(self, x: Float[Tensor, "M B N D"]) -> Float[Tensor, "M B N W"]:
        return torch.tanh(torch.einsum("mbnd,mdw->mbnw", x, self.weight) + self.bias[:, None, None])


class CountsNetwork(nn.Module):
    """M networks in training: `model(samples) → [M,B,N]`, or a list with each member's own Samples.

    Args:
        reader: A linear model, for the counts or features that it reads.
        members: Members M.
        width: Hidden units.
        rng: Address of the first weights.
    """

    def __init__(self, reader: LinearModel, *, members: int, width: int, rng: Rng):
        super().__init__()
        self.members, self._reader = members, [reader]  # in a list: no submodule, nothing to train
        self.backbone = Hidden(members, reader.weight[0].numel(), width, rng("backbone"))
        place = torch.arange(members)[:, None], torch.arange(width)
        self.head = nn.Parameter(rng("head").normal(*place) / math.sqrt(width))

    def hidden(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N W"]:
        """Return what heads read."""
        each = [samples] if isinstance(samples, Samples) else samples
        x = torch.stack([self._reader[0].counts(one) for one in each])
        hidden: Tensor = self.backbone(x.expand(self.members, -1, -1, -1))
        return hidden

    def heads(self) -> Float[Tensor, "M W"]:
        """Return the members' heads: score = hidden · head."""
        return self.head

    def forward(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N"]:
        return torch.einsum("mbnw,mw->mbn", self.hidden(samples), self.head)

    def freeze(self, names: tuple[str, ...]) -> CountsReward:
        """Return the members as they are now, in storage of their own."""
        own = CountsNetwork(
            self._reader[0], members=self.members, width=self.head.shape[1], rng=Rng(0)
        )
        own.load_state_dict({k: v.detach().clone() for k, v in self.state_dict().items()})
        return CountsReward(own.requires_grad_(False), names)


class CountsReward:
    """Frozen networks as a reward.

    Args:
        model: The networks.
        names: Their names.
    """

    partial = False

    def __init__(self, model: CountsNetwork, names: Sequence[str]):
        self.model, self.names = model, tuple(names)

    @torch.no_grad()
    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        scores: Tensor = self.model(samples)
        return torch.where(samples.present, scores, scores.new_zeros(()))
