"""Choices made with uniform numbers in a fixed order, each row of numbers from one address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch

from assay.core import Rng

T = TypeVar("T")


class Dice:
    """Uniform numbers in order, and the choices made with them.

    Args:
        throws: Numbers in [0, 1); StopIteration is raised where they run out.
    """

    def __init__(self, throws: Iterator[float]):
        self.throws = throws

    def uniform(self) -> float:
        """The next number."""
        return next(self.throws)

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return next(self.throws) < p

    def below(self, n: int) -> int:
        """One of 0 … n − 1."""
        return int(next(self.throws) * n)

    def one(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.below(len(options))]

    def binomial(self, mean: float, n: int) -> int:
        """Successes among n throws, `mean` of them on average."""
        return sum(self.chance(mean / n) for _ in range(n))


def dice(n: int, rng: Rng, *, throws: int = 64) -> list[Dice]:
    """Independent dice, all from one address.

    Args:
        n: Dice.
        rng: Their address.
        throws: Numbers of each.
    """
    rows = rng.uniform(torch.arange(n)[:, None], torch.arange(throws)[None, :])
    return [Dice(iter(row)) for row in rows.tolist()]
