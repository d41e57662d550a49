"""The gauge: means of what losses see on the way, over the decisions of a step.

It measures and changes nothing. Sums and counts are kept apart, so micro-batches and processes give
the mean of the whole batch, and nothing waits for the device before the step has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from assay.engine.parallel import sum_

# every process adds up the same rows, also one whose share of the batch is empty
NAMES = (
    "kl",
    "clip_ratio/low_mean",
    "clip_ratio/high_mean",
    "clip_ratio/region_mean",
    "robust/beyond_limit",
    "robust/negative",
)
Sums = dict[str, Tensor]


class Gauge:
    """Sums what is added while it is read; outside of `into` it keeps nothing.

    Attributes:
        muted: Whether the pass under way is counted by another process. Whatever else adds up what
            a loss sees leaves it out, too.
    """

    def __init__(self) -> None:
        self._sums: Sums | None = None
        self.muted = False

    def add(self, name: str, values: Tensor, mask: Tensor) -> None:
        """Add the values of some decisions.

        Args:
            name: One of NAMES.
            values: `[*S]`; no gradient is kept.
            mask: `[*S]`, False where there is no decision.
        """
        if self._sums is None or self.muted:
            return
        values = values.detach()
        kept = torch.where(mask, values, values.new_zeros(()))
        both = torch.stack([kept.sum(dtype=torch.float64), mask.sum(dtype=torch.float64)])
        before = self._sums.get(name)
        self._sums[name] = both if before is None else before + both

    @contextmanager
    def into(self, sums: Sums) -> Iterator[None]:
        """Add what is seen within the block to `sums`."""
        before, self._sums = self._sums, sums
        try:
            yield
        finally:
            self._sums = before

    @contextmanager
    def mute(self) -> Iterator[None]:
        """Leave out what is seen within the block."""
        before, self.muted = self.muted, True
        try:
            yield
        finally:
            self.muted = before


gauge = Gauge()


def means(sums: Sums) -> dict[str, float]:
    """Return the means over all processes, which have to call it together.

    Args:
        sums: What `Gauge.into` was given.

    Returns:
        The means by name; what no decision was added to is left out.
    """
    none = torch.zeros(2, dtype=torch.float64)
    table = sum_(torch.stack([sums[k].cpu() if k in sums else none for k in NAMES])).tolist()
    return {k: total / n for k, (total, n) in zip(NAMES, table, strict=True) if n}
