"""Policies on a front: measured, kept while nothing dominates them, chosen where few are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Prompts, Rng, Samples
from assay.formulas.pareto import crowding_distance, hypervolume, nondominated
from assay.stats.effects import Reading


def mean_rewards(
    several: Callable[[Samples], Tensor], policy: Any, prompts: Prompts, n: int, rng: Rng
) -> Float[Tensor, "1 M"]:
    """Measure a policy's mean rewards on fresh completions.

    Args:
        several: completions → `[M,B,N]`.
        policy: The policy.
        prompts: B prompts.
        n: Completions of each.
        rng: Their address.
    """
    x = policy.sample(prompts, n, rng)
    return several(x)[:, x.present].double().mean(1)[None].cpu()


def least_crowded(points: Float[Tensor, "P M"], most: int) -> Int[Tensor, "K"]:
    """Return the places of the points that no other dominates, the least crowded first.

    Args:
        points: Values of M objectives.
        most: Points at most. Ends of the front come first.
    """
    alone = nondominated(points).nonzero()[:, 0]
    return alone[crowding_distance(points[alone]).argsort(descending=True, stable=True)][:most]


class Front:
    """The policies that no other one dominates, at most so many: what a run's memory keeps of them.

    Args:
        most: Policies at most; the most crowded ones are left out.

    Attributes:
        points: Their objectives `[P,M]`; None while there are none.
        states: Their weights, in the same order.
    """

    def __init__(self, most: int):
        self.most = most
        self.points: Tensor | None = None
        self.states: list[dict[str, Any]] = []

    def add(self, point: Float[Tensor, "1 M"], policy: Any) -> None:
        """Add a policy, if it belongs here, and drop what it dominates.

        Args:
            point: Its objectives.
            policy: Its weights are copied.
        """
        state = {k: v.detach().clone() for k, v in policy.state_dict().items()}
        points = point if self.points is None else torch.cat([self.points, point])
        stay = least_crowded(points, self.most).sort().values
        states = [*self.states, state]
        self.points, self.states = points[stay], [states[i] for i in stay.tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Return points and weights."""
        return {"points": self.points, "states": list(self.states)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.points, self.states = state["points"], list(state["states"])


def front_share(readings: list[Reading], *more: list[Reading]) -> float:
    """Area that a run's readings dominate above (0, 0), over that of the exact front; of several
    runs, what they dominate together.

    Args:
        readings: Of a world with an exact front of two objectives.
        more: Other runs' readings.

    Raises:
        ValueError: No reading has exact objectives.
    """
    rows = [r for run in (readings, *more) for r in run if r["tag"] != "best"]
    exact = [r["stats"] for r in rows if "exact/front" in r["stats"]]
    if not exact:
        raise ValueError("no reading has exact objectives; use testbed trade of world table")
    points = torch.tensor([[s["exact/objective0"], s["exact/objective1"]] for s in exact])
    return float(hypervolume(points, torch.zeros(2))) / exact[0]["exact/front"]
