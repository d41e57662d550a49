"""Rewards that are tables over state and action: an episode's score is its discounted sum, and
every step has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Samples
from assay.core.rng import Rng
from assay.errors import InputError
from assay.models.policies.markov import Process, states
from assay.rewards.linear import LinearModel


class VisitReward:
    """score_m(episode) = (Σ_t γ^t table[m, s_t, a_t] − centre_m)/scale_m; `steps` are the entries
    themselves, undiscounted.

    The sum is over what was decided or given. centre and scale are the score's alone, so that steps
    of several members keep the units of the table and can be added.
    """

    partial = False

    def __init__(
        self,
        table: Float[Tensor, "M S A"],
        names: tuple[str, ...],
        *,
        gamma: float = 1.0,
        centre: Float[Tensor, "M"] | None = None,
        scale: Float[Tensor, "M"] | None = None,
    ):
        if len(names) != table.shape[0]:
            raise InputError(
                f"{table.shape[0]} members need as many names, got {len(names)}: {', '.join(names)}"
            )
        self.table, self.names, self.gamma = table.double(), tuple(names), gamma
        self.centre = self.table.new_zeros(len(names)) if centre is None else centre.double()
        self.scale = self.table.new_ones(len(names)) if scale is None else scale.double()

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        each = self._entries(samples)
        total = (each * self.gamma ** torch.arange(each.shape[-1], dtype=each.dtype)).sum(-1)
        return ((total - self.centre[:, None, None]) / self.scale[:, None, None]).to(
            samples.logp.dtype
        )

    def steps(self, samples: Samples) -> Float[Tensor, "M B N T"]:
        """table[m, s_t, a_t] of each decision."""
        return self._entries(samples).to(samples.logp.dtype)

    def only(self, members: Sequence[int]) -> VisitReward:
        """These members alone."""
        m = list(members)
        return VisitReward(
            self.table[m],
            tuple(self.names[i] for i in m),
            gamma=self.gamma,
            centre=self.centre[m],
            scale=self.scale[m],
        )

    def _entries(self, samples: Samples) -> Float[Tensor, "M B N T"]:
        each = self.table[:, states(samples)[..., :-1], samples.action]
        return torch.where(samples.mask | samples.given, each, each.new_zeros(()))


class VisitModel(LinearModel):
    """M trainable members with a weight for every state-action, summed over an episode: judges of
    people's comparisons.
    """

    def __init__(self, members: int, process: Process, *, rng: Rng | None = None):
        self.shape = (len(process.states), len(process.actions))
        super().__init__(members, vocabulary=self.shape[0] * self.shape[1], rng=rng)

    def _coded(self, samples: Samples) -> Samples:
        """The episode as tokens, one for each state-action."""
        return replace(samples, action=states(samples)[..., :-1] * self.shape[1] + samples.action)

    def forward(self, samples: Samples | list[Samples]) -> Float[Tensor, "M B N"]:
        return super().forward(
            [self._coded(x) for x in samples] if isinstance(samples, list) else self._coded(samples)
        )

    def counts(self, samples: Samples) -> Float[Tensor, "B N D"]:
        """How often an episode did what where."""
        return super().counts(self._coded(samples))

    def freeze(self, names: tuple[str, ...]) -> VisitReward:  # type: ignore[override]
        """These members as a reward; it has steps."""
        return VisitReward(self.table().detach().reshape(self.members, *self.shape), names)
