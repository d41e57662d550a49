"""A world's judges fitted anew by a paper's file, so that any recipe can be run against them:
`--fit NAME --fit.x VALUE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from assay.core import Loop, Pairs, Reward, Sampler, World
from assay.errors import InputError, Missing
from assay.registry import catalogue

LOOP = tuple(f.name for f in fields(Loop))


def refitted(world: World, name: str, arguments: Mapping[str, Any]) -> World:
    """The world with judges that the fit file `name` made of its pairs. `arguments`: the paper's
    constants and Loop fields.

    Everything else of the world stays, its gold and its reference above all. Exact facts about the
    old judges are left out. Raises InputError where the file is no fit, Missing where the world has
    no judges of its own to fit.
    """
    entry = catalogue.find(name)
    if entry.verb != "fit":
        raise InputError(
            f"--fit is '{name}', a {entry.verb}; a paper that fits judges was expected (assay list "
            "has its verb)"
        )
    if world.refit is None:
        raise Missing(
            f"world {world.name} has no judges that could be fitted anew; leave --fit out"
        )
    function = catalogue.load(entry).fit

    def by(model: Any, pairs: Pairs, loop: Loop) -> Reward:
        steps = replace(loop, **{k: v for k, v in arguments.items() if k in LOOP})
        fitted: Reward = function(
            model, pairs, **{k: v for k, v in arguments.items() if k not in LOOP}, loop=steps
        )
        return fitted

    judges, before = world.refit(by), set(world.task.rewards.names)
    known = world.facts

    def facts(policy: Sampler) -> dict[str, float]:
        """The world's exact quantities, without those of the judges that are no longer there."""
        return {k: v for k, v in known(policy).items() if k not in before} if known else {}

    return replace(world, task=world.task.replaced(rewards=judges), facts=facts if known else None)
