"""What all rewards that read text share: text in, scores out; and Samples by way of their text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Samples
from assay.data.turns import Turns


@runtime_checkable
class TextReward(Protocol):
    """A reward of texts: a function, a server, a fitted folder, a classifier.

    Attributes:
        kind: What it is, for the record.
        names: Its members' names.
        partial: Whether NaN means "does not apply".
    """

    kind: str
    names: tuple[str, ...]
    partial: bool

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "M R"]:
        """Score responses.

        Args:
            prompts: R prompts as text.
            responses: R responses.
            turns: The conversation of each prompt, or None where it is plain text.
            columns: The other columns of the prompts' file, one value a response.

        Returns:
            Every member's score of every response, which does not depend on the other rows.
        """
        ...

    def to(self, device: torch.device) -> TextReward:
        """Move what computes to a device."""
        ...


class OnSamples:
    """Makes a reward of texts a Reward of Samples, by their text."""

    def __call__(self: Any, samples: Samples) -> Float[Tensor, "M B N"]:
        """Score completions by their text; an absent one scores 0."""
        asks, texts = samples.prompts.text(), samples.text()
        B, N = samples.mask.shape[:2]
        asks, said = [a for a in asks for _ in range(N)], [t for row in texts for t in row]
        flat = self.scores(asks, said).view(-1, B, N)
        return torch.where(samples.present, flat.to(samples.logp), samples.logp.new_zeros(()))
