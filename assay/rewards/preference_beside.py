"""Two models of preferences beside each other, on the same pairs of prompts that neither saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from assay.engine.plural import counted
from assay.stats.intervals import bounds


@dataclass(frozen=True)
class Beside:
    """A general preference model beside Bradley–Terry, on prompts that neither saw.

    Means over prompts, each of which counts once; intervals are Student's over prompts.

    Attributes:
        prompts: Prompts.
        pairs: Pairs.
        accuracy: Of the general preference model; a tie counts ½.
        bradley_terry_accuracy: Of Bradley–Terry.
        log_loss: Of the general preference model, in nats a pair; 0.693 without any knowledge.
        bradley_terry_log_loss: Of Bradley–Terry.
        gain: Bradley–Terry's log-loss minus the other's: (mean, low, high), above 0 where planes
            help.
    """

    prompts: int
    pairs: int
    accuracy: float
    bradley_terry_accuracy: float
    log_loss: float
    bradley_terry_log_loss: float
    gain: tuple[float | None, float | None, float | None]

    def says(self) -> list[str]:
        """Return lines for a person."""
        mean, low, high = self.gain
        ends = "" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]"
        verdict = "undecided"
        if low is not None and high is not None and (low > 0 or high < 0):
            better = low > 0
            verdict = "the planes help" if better else "the planes hurt: fit a reward instead"
        return [
            f"on {counted(self.pairs, 'pair')} of {counted(self.prompts, 'prompt')} never seen:",
            f"  general preference  accuracy {self.accuracy:.3f}, log-loss {self.log_loss:.4f}",
            f"  Bradley–Terry       accuracy {self.bradley_terry_accuracy:.3f}, "
            f"log-loss {self.bradley_terry_log_loss:.4f}",
            f"  log-loss saved      {mean:+.4f}{ends}: {verdict}",
        ]


def beside(
    chance: Float[Tensor, "n"],
    plain: Float[Tensor, "n"],
    p: Float[Tensor, "n"],
    group: Any,
    weight: Any,
) -> Beside:
    """Compare two models' chances that the better response is preferred.

    Args:
        chance: Of the general preference model.
        plain: Of Bradley–Terry.
        p: The labels: the share of raters that prefer it.
        group: The prompt of each pair.
        weight: The weight of a pair within its prompt.
    """

    def by_prompt(each: Tensor) -> Any:
        total = np.bincount(group, weight * each.numpy())
        return (total / np.maximum(size, 1e-300))[size > 0]

    def log_loss(q: Tensor) -> Tensor:
        return -(torch.special.xlogy(p, q) + torch.special.xlogy(1 - p, 1 - q))

    def right(q: Tensor) -> Tensor:
        hit = torch.where(q > 0.5, 1.0, torch.where(q == 0.5, 0.5, 0.0)).double()
        return p * hit + (1 - p) * (1 - hit)

    size = np.bincount(group, weight)
    mine, other = by_prompt(log_loss(chance)), by_prompt(log_loss(plain))
    return Beside(
        prompts=len(mine),
        pairs=len(chance),
        accuracy=float(by_prompt(right(chance)).mean()),
        bradley_terry_accuracy=float(by_prompt(right(plain)).mean()),
        log_loss=float(mine.mean()),
        bradley_terry_log_loss=float(other.mean()),
        gain=bounds((other - mine).tolist()),
    )
