"""Each trap of labeling, on thousands of runs that have not turned: with our design the promise
holds, without it not.
"""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import pytest

from assay.watch.config import WatchConfig
from assay.watch.detector import Schedule

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
traps, jitter, simulate = (
    importlib.import_module(f"bench.watch.{name}") for name in ("traps", "jitter", "simulate")
)
R, FEW = 5000, 500
PLAIN, HELPED = simulate.Settings(), simulate.Settings(proxy=True)
OURS = {
    "order by a coin": (lambda n: traps.position(n, 0.15, True), PLAIN),
    "one label a prompt": (lambda n: traps.several(n, 0.3, "one"), PLAIN),
    "one outcome a prompt": (lambda n: traps.several(n, 0.3, "mean"), PLAIN),
    "fresh prompts": (lambda n: traps.panel(n, 0, 0.3), PLAIN),
}
OTHERS = {
    "older answer first": (lambda n: traps.position(n, 0.05, False), PLAIN, 0.7),
    "labels of a prompt apart": (lambda n: traps.several(n, 0.3, "apart"), PLAIN, 0.3),
    "the same 64 prompts": (lambda n: traps.panel(n, 64, 0.3), PLAIN, 0.1),
    "a mean from elsewhere": (lambda n: traps.pool(n, 0.7, -0.05, False), HELPED, 0.7),
}


def most(runs: int) -> float:
    """Alarms that 5 % make once in a thousand times."""
    return 0.05 * runs + 3.1 * math.sqrt(0.05 * 0.95 * runs)


@pytest.mark.parametrize("name", OURS)
def test_with_our_design(name: str) -> None:
    look, settings = OURS[name]
    assert traps.alarms(R, look(R), settings) <= most(R)


def test_the_mean_of_the_own_group() -> None:
    assert traps.alarms(1000, traps.pool(1000, 0.7, 0.0, True), HELPED) <= most(1000)


@pytest.mark.parametrize("name", OTHERS)
def test_without_it(name: str) -> None:
    look, settings, least = OTHERS[name]
    assert traps.alarms(FEW, look(FEW), settings) > least * FEW


def test_a_best_chosen_by_noisy_labels_from_checkpoints_that_jitter() -> None:
    """Jitter of .04 in win rate, and the defaults of `WatchConfig`: a stretch of eight, a margin of
    .01 keep the promise that a single best checkpoint breaks.
    """
    ours = WatchConfig()
    settings = simulate.Settings(
        delta=ours.delta, schedule=Schedule(ours.labels_per_look(100), ours.alert, -1.0)
    )
    level = jitter.levels(R, 0.04, 0)
    assert int(
        jitter.watched(level, settings, stretch=ours.stretch_length(100))["alarm"].sum()
    ) <= most(R)
    assert int(jitter.watched(level[:1000], settings, stretch=1)["alarm"].sum()) > most(1000)
