"""What the loop that fits reward models asks of a model, a loss and a penalty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Pairs, Reward, Samples

Members = Float[Tensor, "M B"]
Loss = Callable[[Members, Members, Members, Members], Members]
Moved = Callable[[nn.Module, int], dict[str, Tensor]]


@runtime_checkable
class Trainable(Protocol):
    """Reward models in training: `model(samples) → [M,B,N]`, differentiable; `freeze` ends it.

    The argument is one Samples for all members, or a list with one for each member. A model that
    shows what its heads read also has `hidden(samples) → [M,B,N,H]` and `heads() → [M,H]`.
    """

    members: int

    def __call__(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N"]: ...
    def freeze(self, names: tuple[str, ...]) -> Reward: ...


@runtime_checkable
class Separable(Protocol):
    """Members that share no weight."""

    def one(self, weights: Mapping[str, Tensor], samples: Samples) -> Float[Tensor, "B N"]:
        """Score completions by the member that these weights make."""
        ...


@runtime_checkable
class Penalty(Protocol):
    """A cost of a whole batch that is not a sum over its pairs, for example a correlation."""

    def view(self, model: Any, each: Sequence[Pairs], t: int) -> Tensor:
        """Return what the cost is a function of: `[M,b,…]`, differentiable, row by row.

        Args:
            model: The members.
            each: Each member's pairs.
            t: The step.
        """
        ...

    def __call__(self, view: Tensor, each: Sequence[Pairs]) -> Float[Tensor, "M"]:
        """Return each member's cost of the whole batch's view."""
        ...
