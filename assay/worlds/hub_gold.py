"""The gold of world hub: a written check, or a reward model that is held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from assay.core import Samples
from assay.rewards.function import FunctionReward
from assay.rewards.load import TextRewards


def kind_of(golds: Sequence[Any]) -> str:
    """The kind of gold, for the record; a reward model is never called gold."""
    if not golds:
        return ""
    return golds[0].kind if isinstance(golds[0], FunctionReward) else "held-out model"


def gold_of(told: TextRewards) -> Callable[[Samples], Float[Tensor, "K B N"]]:
    """Gold as evaluations read it."""

    def gold(x: Samples) -> Float[Tensor, "K B N"]:
        """Scores of the held-out reward model.

        A completion to which it does not apply is an error: a mean over some rows would be another
        quantity.
        """
        return told(x)

    return gold
