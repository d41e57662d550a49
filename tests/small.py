"""Small worlds for the contract: each recipe is held to it on a miniature of the world its claim is
about.
"""

from __future__ import annotations

import functools
import json
import os
from typing import Any

from assay.core import World
from assay.registry import catalogue

BANDIT = {"testbed": "bandit", "prompts": 8, "responses": 24, "pairs": 200, "members": 3}
# Arguments that make a world's miniature, over those of the claim. Sizes only: a miniature has the
# same parts.
SIZES: dict[str, dict[str, Any]] = {
    "table": {},
    "grammar": {
        "pairs": 40,
        "members": 2,
        "held_out": 4,
        "demos": 60,
        "max_tokens": 14,
        "width": 16,
        "layers": 1,
        "sft_steps": 8,
        "reward_width": 16,
        "reward_layers": 1,
        "reward_steps": 4,
    },
    "sums": {
        "prompts": 12,
        "held_out": 6,
        "pairs": 12,
        "taught": 400,
        "least": 2,
        "most": 2,
        "pass_rate": 0.8,
        "width": 32,
        "layers": 1,
        "sft_steps": 120,
        "sft_lr": 0.01,
    },
    "routing": {
        "turns": 2,
        "prompts": 24,
        "held_out": 8,
        "taught": 400,
        "width": 16,
        "layers": 1,
        "sft_steps": 60,
        "sft_lr": 0.02,
    },
    "flow": {"members": 2, "steps": 4, "width": 8},
    "calculator": {  # a smaller one is never right, and nothing can be learned from its calls
        "prompts": 24,
        "held_out": 8,
        "taught": 1000,
        "width": 32,
        "layers": 2,
        "sft_steps": 120,
        "sft_lr": 0.01,
    },
}

# Where miniatures are kept, see conftest.py. Two processes are given that of the one, because a
# world schooled in float32 by two is another.
FOLDER = os.environ["ASSAY_SMALL"]


def needs(module: Any) -> tuple[str, dict[str, Any]]:
    """The world that a recipe is tried on, and its arguments. What any world can serve is tried on
    a bandit.
    """
    on: dict[str, dict[str, Any]] = module.claim.on
    world = module.claim.worlds[0]
    if world in ("table", "grammar") and on.get("table", {}).get("testbed", "bag") in (
        "bag",
        "bandit",
    ):
        return "table", BANDIT
    return world, {**on.get(world, {}), **SIZES[world]}


def small_world(module: Any) -> World:
    """The miniature of a recipe's world in float64: Adam turns the rounding of float32 into steps,
    and these laws are about the arithmetic.
    """
    name, arguments = needs(module)
    return _built(name, json.dumps(arguments))


@functools.cache
def _built(name: str, arguments: str) -> World:
    before = os.environ.get("ASSAY_CACHE")
    os.environ["ASSAY_CACHE"] = FOLDER
    try:
        world: World = catalogue.load_world(name)(**json.loads(arguments), seed=1)
    finally:
        os.environ.pop("ASSAY_CACHE") if before is None else os.environ.update(ASSAY_CACHE=before)
    world.task.reference.double()  # type: ignore[attr-defined]  # every policy of ours is a torch module
    return world
