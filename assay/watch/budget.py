"""What a watch may spend: labels of its budget, and fresh prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.watch.comparisons import ComparisonSource
from assay.watch.config import WatchConfig

SAVED = ("spent", "unusable", "used")
MORE = "give more of them (--watch.prompts FILE, or more held-out prompts)"


class Budget:
    """Counts labels and prompts, and says how many a look may have.

    Args:
        config: The watch's configuration.
        looks: Looks of the whole run.
        source: Says how many prompts are left.

    Attributes:
        plan: How labels are spread over the looks.
        spent: Labels spent, usable or not.
        unusable: Labels without a value.
        used: Prompts used.
    """

    def __init__(self, config: WatchConfig, looks: int, source: ComparisonSource):
        self.config, self.looks, self.source = config, looks, source
        self.plan = config.plan(looks, source.prompts_left(0))
        self.spent, self.unusable, self.used = 0, 0, 0

    @property
    def left(self) -> int:
        """Labels of the budget that are left, whether there are prompts for them or not."""
        return self.config.budget - self.spent

    @property
    def usable(self) -> int:
        """Labels that had a value."""
        return self.spent - self.unusable

    def pay(self, labels: Sequence[float | None]) -> None:
        """Count labels."""
        self.spent += len(labels)
        self.unusable += sum(x is None for x in labels)

    def at_look(self, look: int, notes: list[str], *, gathers: bool) -> int:
        """Labels that a look buys, by the plan.

        Args:
            look: The look.
            notes: Receives a sentence on what has run out.
            gathers: Whether evidence gathers.
        """
        prompts, group = self.source.prompts_left(self.used), self.config.group
        left = max(0, self.left if prompts is None else min(self.left, prompts // group))
        n = self.plan.at_look(look, left, gathers=gathers)
        if self.left <= 0:
            notes.append(
                f"the budget of {self.config.budget} labels is spent (--watch.budget gives more)"
            )
        elif not left:
            notes.append(f"no fresh prompts are left, and none is asked about twice; {MORE}")
        elif not n:
            every = -(-self.plan.looks // max(1, self.plan.labels))
            notes.append(
                f"by the plan this look buys none: there is one label for about {every} looks"
            )
        return n

    def spare(self, look: int, *, waits: bool) -> int:
        """Comparisons with the reference that budget and prompts can spare.

        Args:
            look: The present look; what later looks want is not spare, and of a tight plan neither
                is the reserve.
            waits: True for people, who label nothing after a stop.
        """
        to_come = max(1, self.plan.calm) * max(0, self.plan.looks - look - 1)
        reserve = self.plan.reserve if self.plan.tight else 0
        n = min(
            self.config.reference,
            self.left - to_come - max(reserve, 0 if waits else self.config.settle),
        )
        prompts = self.source.prompts_left(self.used)
        return n if prompts is None else min(n, prompts - (to_come + reserve) * self.config.group)

    def at_most(self, n: int) -> int:
        """n comparisons, or as many as budget and prompts allow."""
        prompts = self.source.prompts_left(self.used)
        n = min(n, self.left)
        return n if prompts is None else min(n, prompts)

    def record(self) -> dict[str, int]:
        """What stands in every verdict; `of` is what budget and prompts allow together."""
        return {
            "labels": self.spent,
            "unusable": self.unusable,
            "budget": self.config.budget,
            "of": self.plan.labels,
        }

    def unusable_note(self) -> list[str]:
        """A sentence on unusable labels, if there are any."""
        if not self.unusable:
            return []
        return [f"{self.unusable} of {self.spent} questions got no usable answer"]

    def state(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {name: getattr(self, name) for name in SAVED}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        for name in SAVED:
            setattr(self, name, state[name])
