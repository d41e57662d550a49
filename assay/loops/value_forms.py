"""How a critic's head says a value, and what it is fitted by: a number, or a histogram of bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from assay.errors import InputError
from assay.formulas.histogram import cross_entropy, gaussian_histogram, histogram_mean, two_hot
from assay.formulas.surrogate import value_clipped

FITS = ("gaussian", "two_hot", "squared")


@runtime_checkable
class ValueForm(Protocol):
    """A form of values, standardised: in deviations of the returns about their mean.

    Attributes:
        outputs: Outputs of the head a value.
    """

    @property
    def outputs(self) -> int:
        """Outputs of the head a value."""
        ...

    def values(self, raw: Tensor) -> Tensor:
        """Return the values `[…]` that the head's outputs `[…,outputs]` stand for."""
        ...

    def loss(self, raw: Tensor, old: Tensor, target: Tensor, *, clip: float) -> Tensor:
        """Return the unreduced loss `[…]` of the outputs `[…,outputs]`.

        Args:
            raw: The head's outputs.
            old: The values `[…]` from before the update.
            target: What the values are fitted to, `[…]`.
            clip: How far a value may move from its old one before its loss is clipped.
        """
        ...


@dataclass(frozen=True)
class Scalar:
    """One output, the value itself, fitted by the clipped squared error.

    Attributes:
        outputs: Of the head, one.
    """

    outputs: int = 1

    def values(self, raw: Tensor) -> Tensor:
        """See ValueForm."""
        return raw[..., 0]

    def loss(self, raw: Tensor, old: Tensor, target: Tensor, *, clip: float) -> Tensor:
        """See ValueForm."""
        return value_clipped(raw[..., 0], old, target, clip=clip)


@dataclass(frozen=True)
class Binned:
    """A softmax over bins, whose mean is the value.

    Attributes:
        fit: gaussian: cross-entropy with HL-Gauss's histogram of the target; two_hot: with the
            target divided between two bins; squared: the clipped squared error of the mean, which
            classifies nothing.
        bins: Bins, at least 2.
        reach: The support is from −reach to reach, in deviations of the returns.
        spread: σ of HL-Gauss in widths of a bin.
    """

    fit: str = "gaussian"
    bins: int = 51
    reach: float = 10.0
    spread: float = 0.75

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise InputError(f"the fit of a critic is '{self.fit}'; it is one of {', '.join(FITS)}")
        if self.bins < 2 or not self.reach > 0 or not self.spread > 0:
            raise InputError(
                f"--bins is {self.bins}, --reach {self.reach} and --spread {self.spread}; there "
                "are at least 2 bins, and the others are above 0"
            )

    @property
    def outputs(self) -> int:
        """The bins."""
        return self.bins

    def edges(self, like: Tensor) -> Tensor:
        """The bins' edges `[bins + 1]`, of this tensor's kind."""
        return torch.linspace(-self.reach, self.reach, self.bins + 1).to(like)

    def values(self, raw: Tensor) -> Tensor:
        """See ValueForm."""
        return histogram_mean(raw, self.edges(raw))

    def loss(self, raw: Tensor, old: Tensor, target: Tensor, *, clip: float) -> Tensor:
        """See ValueForm. Cross-entropies are not clipped: a logit's derivative is below 1."""
        edges = self.edges(raw)
        if self.fit == "squared":
            return value_clipped(histogram_mean(raw, edges), old, target, clip=clip)
        if self.fit == "two_hot":
            return cross_entropy(raw, two_hot(target, edges))
        return cross_entropy(raw, gaussian_histogram(target, edges, spread=self.spread))
