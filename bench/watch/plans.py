"""What the plan of labels is worth: python -m bench.watch.plans prints the table of docs/watch.md.

Shares of simulated runs in which a fall is found that begins at a quarter, a half or three quarters
of the run, mean over the three; `before` is the schedule without a plan: 400 labels over the looks,
at least 4, 32 once evidence gathers, until nothing is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.watch import WatchConfig
from assay.watch.outlook import simulate
from bench.watch.cells import table

CASES = ((64, 20), (128, 50), (200, 24), (550, 100), (1200, 100))
FALLS, TURNS = (0.40, 0.30, 0.20), (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Unplanned:
    """The schedule without a plan."""

    labels: int
    looks: int
    tight: bool = False

    def at_look(self, look: int, left: int, *, gathers: bool) -> int:
        """As many labels as the level says, until nothing is left."""
        calm = max(4, 400 // self.looks)
        return min(left, max(32, calm) if gathers else calm)


def row(labels: int, looks: int, runs: int) -> list[str]:
    """One row of the table: shares found, and labels of a run that does not turn."""
    config = WatchConfig(budget=labels)
    settings = config.make_detector(looks).settings
    cells: list[list[str]] = []
    plans: tuple[Any, ...] = (Unplanned(labels, looks), config.plan(looks, None))
    for plan in plans:
        mine = []
        for fall in FALLS:
            shares = []
            for turn in (int(t * looks) for t in TURNS):
                wins = np.full((runs, looks), 0.5)
                wins[:, turn:] = fall
                shares.append(float((simulate(plan, settings, wins)[1] >= turn).mean()))
            mine.append(f"{sum(shares) / len(shares):.2f}")
        level = np.full((runs, looks), 0.5 - settings.delta)
        bought, alarm = simulate(plan, settings, level)
        mine += [f"{bought.sum(1).mean():.0f}", f"{100 * (alarm >= 0).mean():.1f}"]
        cells.append(mine)
    return [f"{labels}, {looks}", *(x for pair in zip(*cells, strict=True) for x in pair)]


if __name__ == "__main__":
    names = [*(f"{f:.2f}" for f in FALLS), "labels, no turn", "false alarms, %"]
    head = ["labels, looks", *(x for n in names for x in (f"{n}, before", n))]
    print(table(head, [row(labels, looks, 400) for labels, looks in CASES]))
