"""What a watch may spend: labels of its budget, and fresh prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.watch.comparisons import ComparisonSource
from assay.watch.config import WatchConfig

SAVED = ("spent", "unusable", "used")


class Budget:
    """Counts labels and prompts, and says how many more there may be.

    Args:
        config: The watch's configuration.
        looks: Looks of the whole run.
        source: Says how many prompts are left.

    Attributes:
        spent: Labels spent, usable or not.
        unusable: Labels without a value.
        used: Prompts used.
    """

    def __init__(self, config: WatchConfig, looks: int, source: ComparisonSource):
        self.config, self.looks, self.source = config, looks, source
        self.spent, self.unusable, self.used = 0, 0, 0

    @property
    def left(self) -> int:
        """Labels that are left."""
        return self.config.budget - self.spent

    def pay(self, labels: Sequence[float | None]) -> None:
        """Count labels."""
        self.spent += len(labels)
        self.unusable += sum(x is None for x in labels)

    def affordable(self, notes: list[str]) -> int:
        """Labels that budget and prompts allow.

        Args:
            notes: Receives a sentence on what runs out.
        """
        prompts, group = self.source.prompts_left(self.used), self.config.group
        per_look = self.config.labels_per_look(self.looks) * group
        if prompts is not None and not self.used and prompts < per_look * self.looks:
            notes.append(
                f"{prompts} fresh prompts last for about {prompts // per_look} of {self.looks} "
                "looks, and none is asked about twice; give more of them (--watch.prompts)"
            )
        if self.left <= 0:
            notes.append(f"the budget of {self.config.budget} labels is spent")
        if prompts is not None and prompts < group:
            notes.append(
                "no fresh prompts are left; a longer run needs more of them (--watch.prompts)"
            )
        return max(0, self.left if prompts is None else min(self.left, prompts // group))

    def spare(self, look: int, *, waits: bool) -> int:
        """Comparisons with the reference that budget and prompts can spare.

        Args:
            look: The present look; what later looks want is not spare.
            waits: True for people, who label nothing after a stop.
        """
        to_come = self.config.labels_per_look(self.looks) * max(0, self.looks - look - 1)
        labels = self.left - to_come - (0 if waits else self.config.settle)
        prompts = self.source.prompts_left(self.used)
        n = min(self.config.reference, labels)
        return n if prompts is None else min(n, prompts - to_come * self.config.group)

    def at_most(self, n: int) -> int:
        """n comparisons, or as many as budget and prompts allow."""
        prompts = self.source.prompts_left(self.used)
        n = min(n, self.left)
        return n if prompts is None else min(n, prompts)

    def record(self) -> dict[str, int]:
        """What stands in every verdict."""
        return {
            "labels": self.spent,
            "unusable": self.unusable,
            "budget": self.config.budget,
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
