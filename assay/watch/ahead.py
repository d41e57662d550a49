"""What a look will compare, so that it can be sampled at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch

from assay.core import Rng


class Draw(NamedTuple):
    """One comparison of the current policy that a look will ask for.

    Attributes:
        other: The step of the other policy.
        at: The comparison's place within the look.
        used: How many prompts were sampled before it.
    """

    other: int
    at: int
    used: int


@runtime_checkable
class SamplesAhead(Protocol):
    """A `ComparisonSource` that samples a whole look at once, and hands it out as it is asked for.

    A language model takes for four completions almost as long as for forty, and labels are bought
    four at a time.
    """

    def sample_ahead(self, step: int, draws: Sequence[Draw]) -> None:
        """Sample what `sample` will be asked for; what it is not asked for is dropped.

        Args:
            step: The present step, whose policy is the first of every comparison.
            draws: The comparisons.
        """
        ...


def others_of(stretch: Sequence[int], rng: Rng, at: int, n: int) -> list[int]:
    """Draw the policies that n comparisons are with.

    Args:
        stretch: The steps of the best policies so far.
        rng: Of this look.
        at: The place of the first comparison within the look.
        n: How many.

    Returns:
        A step each, sorted: comparisons with one policy are sampled together.
    """
    which = rng("against").integers(len(stretch), torch.arange(at, at + n))
    return sorted(stretch[i] for i in which.tolist())


def draws_of(
    stretch: Sequence[int], rng: Rng, n: int, *, part: int, group: int, used: int
) -> list[Draw]:
    """List what a look of n labels samples.

    Args:
        stretch: See `others_of`.
        rng: See `others_of`.
        n: Labels of the look.
        part: Labels that are bought at a time.
        group: Comparisons for each label.
        used: How many prompts were sampled before.
    """
    parts = [others_of(stretch, rng, at, min(part, n - at)) for at in range(0, n, part)]
    every = [other for own in parts for other in own for _ in range(group)]
    return [Draw(other, place, used + place) for place, other in enumerate(every)]
