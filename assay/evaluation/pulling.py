"""Pulls a recipe's next step under its own meter and clock, and answers what it asks."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from torch import Tensor

from assay.core import Ask, Carry, Step
from assay.engine.descend import micro_batches
from assay.evaluation.config import MeasureConfig
from assay.evaluation.health import Health
from assay.evaluation.progress import Progress, steps_of
from assay.watch.ledger import Ledger


class Puller:
    """A function that returns a recipe's next Steps; None when it has ended.

    Args:
        recipe: The recipe, begun.
        carry: Its memory.
        ledger: Answers what it asks.
        progress: Counts what it spends.
        config: Says the size of a pass, and what happens at a number that is not finite.
        health: Records numbers that are not finite.
    """

    def __init__(
        self,
        recipe: Generator[Any, Any, Any],
        carry: Carry,
        ledger: Ledger,
        progress: Progress,
        config: MeasureConfig,
        health: Health,
    ):
        self.recipe, self.carry, self.ledger = recipe, carry, ledger
        self.progress, self.config, self.health = progress, config, health

    def __call__(self) -> list[Step] | None:
        """Pull once."""
        with self.health.collecting(self.carry.next + 1):
            return self._pulled()

    def _pulled(self) -> list[Step] | None:
        micro, strict = self.config.micro_batch_size, self.config.stop_on_nonfinite
        item: Any = None
        labels: Tensor | None = None
        ended = False
        while True:
            with micro_batches(micro, strict=strict), self.progress.working():
                try:
                    item = self.recipe.send(labels)
                except StopIteration:
                    item, ended = None, True
                if isinstance(item, Ask):
                    labels = self.ledger("recipe", self.carry.next, item.samples)
            if not isinstance(item, Ask):
                self.progress.count_seen()
                return None if ended else steps_of(item)
