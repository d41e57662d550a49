"""No world: random addresses alone, for a study that makes what it needs by itself."""

from __future__ import annotations

from dataclasses import replace

from assay.core import World
from assay.worlds import table


def world(*, seed: int = 0) -> World:
    """Return the least world there is, without gold: only its random addresses are meant to be
    used.

    Args:
        seed: Seeds the addresses.
    """
    # a world has to have a task; the bandit's carries the addresses and costs nothing to make
    least = table.world(testbed="bandit", prompts=1, members=1, pairs=40, seed=seed)
    return replace(least, name="study", gold=None, refit=None, facts=None)
