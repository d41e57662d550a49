"""What each look of a run saw: labels, outcomes, and the pay of each bet on a fall."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from assay.formulas import sequential as seq
from assay.formulas.confidence import average
from assay.watch.schedule import DetectorSettings


class History:
    """One row for each look.

    Args:
        settings: The detector's.

    Attributes:
        rows: [look, labels, Σ(½ + w(x − ½)/weight), log pay of each bet].
    """

    def __init__(self, settings: DetectorSettings):
        self.settings = settings
        self.rows: list[list[float]] = []

    @property
    def labeled(self) -> bool:
        """Whether the present look has a label."""
        return bool(self.rows) and self.rows[-1][1] > 0

    def begin(self, look: int) -> None:
        """Begin a look's row."""
        self.rows.append([float(look), 0.0, 0.0, *[0.0] * len(self.settings.rates)])

    def add(self, labels: int, won: float, pays: Sequence[float]) -> None:
        """Add what was seen to the present look's row.

        Args:
            labels: How many labels.
            won: Their outcomes' sum, Σ(½ + w(x − ½)/weight).
            pays: The log pay of each bet, in the order of the settings' rates.
        """
        row = self.rows[-1]
        row[1] += labels
        row[2] += won
        row[3:] = [a + b for a, b in zip(row[3:], pays, strict=True)]

    def since(self, best: int) -> int:
        """The look at which a fall most likely began; looks without a label say nothing of it.

        Args:
            best: The look of the best so far; only later looks compared with it.
        """
        tail = torch.zeros(len(self.settings.rates), dtype=torch.float64)
        top, where = -math.inf, best + 1
        for row in reversed(self.rows):
            if row[0] <= best:
                break
            tail = tail + torch.tensor(row[3:], dtype=torch.float64)
            if row[1] > 0 and float(tail.max()) > top:
                top, where = float(tail.max()), int(row[0])
        return where if self.rows else 0

    def win_rate(self, since: int) -> tuple[float | None, float, float]:
        """The mean win rate from a look on, corrected for wrong labels, with its interval.

        Args:
            since: The first look.

        Returns:
            The win rate (None without a label), and both ends of the interval, which holds for
            every `since` at once.
        """
        s = self.settings
        rows = [r for r in self.rows if r[0] >= since]
        n, total = sum(r[1] for r in rows), sum(r[2] for r in rows)
        if n == 0:
            return None, 0.0, 1.0
        kind = "open" if s.prior == "open" else "uniform"
        place = seq.start_prior(looks=max(s.looks, since + 1), kind=kind)[since]
        level = -math.log(s.alpha) - float(place.log())
        low, high = average(torch.tensor(total), torch.tensor(n), log_level=level)
        ends = torch.stack([torch.tensor(total / n, dtype=torch.float64), low, high])
        p = seq.unflipped((0.5 + s.weight * (ends - 0.5)).clamp(0, 1), flip=s.flip)
        return float(p[0]), float(p[1]), float(p[2])
