"""Linear rewards, frozen: a score for each token (and prompt), summed over the completion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Samples
from assay.errors import InputError
from assay.rewards.folder import read_reward, write_reward

KIND = "linear tokens"


def additive(table: Float[Tensor, "M R V"], samples: Samples) -> Float[Tensor, "M B N"]:
    """Return Σ_t table[m, x, y_t] over all tokens of each completion.

    Args:
        table: Scores of tokens; R = 1 where they are the same for all prompts.
        samples: The completions.

    Returns:
        The members' scores.
    """
    row = samples.prompts.row if table.shape[1] > 1 else torch.zeros_like(samples.prompts.row)
    each = table.to(row.device)[:, row[:, None, None], samples.action]
    return torch.where(samples.mask | samples.given, each, each.new_zeros(())).sum(-1)


class LinearReward:
    """(Σ_t table[m, x, y_t] − centre[m]) / scale[m], without gradient.

    Args:
        table: The members' scores of each token.
        names: The members' names.
        centre: What is taken off each member's score; 0 by default.
        scale: What each member's score is divided by; 1 by default.

    Raises:
        InputError: There are not as many names as members.
    """

    partial = False

    def __init__(
        self,
        table: Float[Tensor, "M R V"],
        names: tuple[str, ...],
        *,
        centre: Float[Tensor, "M"] | None = None,
        scale: Float[Tensor, "M"] | None = None,
    ):
        if len(names) != table.shape[0]:
            raise InputError(
                f"{table.shape[0]} members need as many names, got {len(names)}: "
                f"{', '.join(names)}; "
                "give one for each"
            )
        self.table, self.names = table, tuple(names)
        self.centre = table.new_zeros(len(names)) if centre is None else centre
        self.scale = table.new_ones(len(names)) if scale is None else scale

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        with torch.no_grad():
            score = additive(self.table, samples)
            return (score - self.centre.to(score.device)[:, None, None]) / self.scale.to(
                score.device
            )[:, None, None]

    def only(self, members: Sequence[int]) -> LinearReward:
        """Select members."""
        m = list(members)
        return LinearReward(
            self.table[m],
            tuple(self.names[i] for i in m),
            centre=self.centre[m],
            scale=self.scale[m],
        )

    def standardised(self, probs: Float[Tensor, "#R V"], length: int) -> LinearReward:
        """Return this reward with mean 0 and variance 1 over the completions of a table policy.

        It is exact, as if over infinitely many samples: the mean of `length` independent decisions,
        and the variance within prompts plus that between them. A constant member keeps scale 1.

        Args:
            probs: The policy's probabilities of each token.
            length: Tokens of a completion.

        Returns:
            The standardised reward.
        """
        mean, variance = self.moments(probs, length)
        spread = (variance.mean(-1) + mean.var(-1, correction=0)).sqrt()
        return LinearReward(
            self.table,
            self.names,
            centre=self.centre + self.scale * mean.mean(-1),
            scale=self.scale * torch.where(spread > 0, spread, spread.new_ones(())),
        )

    def offset(self, by: Float[Tensor, "M R"], length: int) -> LinearReward:
        """Return this reward with a number of its own added to all scores of each prompt.

        Labels of pairs do not determine these numbers, since both completions of a pair share them.

        Args:
            by: What is added, by member and prompt.
            length: Tokens of a completion, the same for all.

        Returns:
            The reward with offsets.
        """
        each = (self.scale[:, None] * by.to(self.table) / length)[..., None]
        return LinearReward(self.table + each, self.names, centre=self.centre, scale=self.scale)

    def moments(
        self, probs: Float[Tensor, "#R V"], length: int
    ) -> tuple[Float[Tensor, "M R"], Float[Tensor, "M R"]]:
        """Return the exact mean and variance of a completion's score, by member and prompt."""
        first = (self.table * probs).sum(-1)
        second = (self.table.square() * probs).sum(-1)
        mean = (length * first - self.centre[:, None]) / self.scale[:, None]
        return mean, length * (second - first.square()).clamp(min=0) / self.scale[:, None].square()

    def per_decision(self) -> Float[Tensor, "M R V"]:
        """Return each token's part of the score without constants: what tilts a table policy."""
        return self.table / self.scale[:, None, None]

    def save(self, folder: Path | str) -> None:
        """Write the folder that `load_reward` reads."""
        tensors = {"table": self.table, "centre": self.centre, "scale": self.scale}
        write_reward(folder, KIND, self.names, tensors, {})

    @classmethod
    def load(cls, folder: Path | str) -> LinearReward:
        """Read what `save` wrote.

        Raises:
            InputError: A file is missing, foreign or damaged; the sentence names it.
        """

        def made(about: dict[str, Any], t: dict[str, Tensor]) -> LinearReward:
            return cls(t["table"], tuple(about["names"]), centre=t["centre"], scale=t["scale"])

        return read_reward(folder, KIND, made)
