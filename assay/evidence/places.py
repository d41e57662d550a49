"""Where a claim is run: a world, or "study" for a study that makes what it needs by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace

from assay.core import World
from assay.registry import catalogue

STUDY = "study"


def place(name: str) -> Callable[..., World]:
    """The function that builds the place of a name.

    Args:
        name: A world's name or its file; "study" for a place with random addresses and nothing
            else that a study is meant to use.
    """
    return _study if name == STUDY else catalogue.load_world(name)  # type: ignore[no-any-return]


def seeded(build: Callable[..., World]) -> bool:
    """Whether a world takes a seed."""
    return "seed" in inspect.signature(build).parameters


def _study(*, seed: int = 0) -> World:
    # a world has to have a task; the least one there is carries the seed's addresses
    from assay.worlds.table import world

    least = world(testbed="bandit", prompts=1, members=1, pairs=40, seed=seed)
    return replace(least, name=STUDY, gold=None, refit=None, facts=None)
