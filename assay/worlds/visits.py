"""Rewards of decision processes: a table over states and actions, summed over an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Samples
from assay.core.rng import Rng
from assay.errors import InputError
from assay.formulas.process import step_index
from assay.models.process import Process, states
from assay.rewards.linear import LinearModel


class VisitReward:
    """A Reward of M members, each a table over states and actions, with a reward for every step.

    score_m(episode) = (Σ_t γ^t · table[m, s_t, a_t] − centre_m) / scale_m

    `steps` are the entries of the table themselves, undiscounted and neither centred nor scaled:
    steps of several members keep the units of the table and can be added.

    Args:
        table: `[M, S, A]`.
        names: The members' names.
        gamma: Discount γ of the score.
        centre: Subtracted from the score `[M]`; 0 by default.
        scale: Divides the score `[M]`; 1 by default.

    Raises:
        InputError: There are not as many names as members.
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
                f"{table.shape[0]} members have {len(names)} names ({', '.join(names)}); give one "
                "name for each member"
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
        """The entry table[m, s_t, a_t] of every decision."""
        return self._entries(samples).to(samples.logp.dtype)

    def step_of(self, samples: Samples) -> Int[Tensor, "B N T"]:
        """Which step each decision belongs to: every action is a step of its own."""
        return step_index(samples.mask, samples.mask)

    def only(self, members: Sequence[int]) -> VisitReward:
        """A Reward of these members, in this order."""
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
    """M trainable members with a weight for every state and action, summed over an episode.

    Args:
        members: M.
        process: Its states and actions.
        rng: Address of the first weights; None starts at 0.
    """

    def __init__(self, members: int, process: Process, *, rng: Rng | None = None):
        self.shape = (len(process.states), len(process.actions))
        super().__init__(members, vocabulary=self.shape[0] * self.shape[1], rng=rng)

    def _coded(self, samples: Samples) -> Samples:
        """The episode as tokens, one for each pair of state and action."""
        return replace(samples, action=states(samples)[..., :-1] * self.shape[1] + samples.action)

    def forward(self, samples: Samples | list[Samples]) -> Float[Tensor, "M B N"]:
        return super().forward(
            [self._coded(x) for x in samples] if isinstance(samples, list) else self._coded(samples)
        )

    def counts(self, samples: Samples) -> Float[Tensor, "B N D"]:
        """How often each action was taken in each state `[B, N, S·A]`."""
        return super().counts(self._coded(samples))

    def freeze(self, names: tuple[str, ...]) -> VisitReward:  # type: ignore[override]
        """These members as a Reward with steps."""
        return VisitReward(self.table().detach().reshape(self.members, *self.shape), names)
