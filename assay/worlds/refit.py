"""Fit a world's reward models anew by a paper's file: `assay run RECIPE --fit NAME`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from assay.core import Loop, Pairs, Prompts, Reward, Rng, Sampler, Standardised, World
from assay.errors import InputError, Missing
from assay.registry import catalogue

LOOP = tuple(f.name for f in fields(Loop))
Fit = Callable[..., Reward]  # fit(model, pairs, loop)


def refitter(
    model: Callable[[], Any],
    pairs: Pairs,
    loop: Loop,
    *,
    reference: Sampler,
    prompts: Prompts,
    n: int,
    rng: Rng,
) -> Callable[[Fit], Reward]:
    """A world's `refit`: a fresh model fitted by any fit, then standardised on the reference.

    Args:
        model: Makes an unfitted model of the world's kind.
        pairs: The world's preference pairs.
        loop: Constants that suit the model.
        reference: Samples the completions on which scores get mean 0 and standard deviation 1.
        prompts: What it completes.
        n: Completions a prompt.
        rng: Address of these completions.

    Returns:
        A function of a fit.
    """

    def refit(fit: Fit) -> Reward:
        return Standardised(fit(model(), pairs, loop), reference.sample(prompts, n, rng))

    return refit


def refitted(world: World, name: str, arguments: Mapping[str, Any]) -> World:
    """The world with reward models that a paper's fit made of the world's pairs.

    Everything else stays, above all gold and reference. Exact facts about the reward models that
    were replaced are left out.

    Args:
        world: A world with reward models of its own.
        name: A file of verb `fit`, by its name or path.
        arguments: The paper's constants, and fields of the Loop.

    Returns:
        A new world.

    Raises:
        InputError: The file is no fit.
        Missing: The world has no reward models to fit.
    """
    entry = catalogue.find(name)
    if entry.verb != "fit":
        raise InputError(
            f"--fit is '{name}', a {entry.verb}, and a fit was expected; `assay list` shows which "
            "papers fit reward models"
        )
    if world.refit is None:
        raise Missing(f"world {world.name} has no reward models to fit anew; leave --fit out")
    function = catalogue.load(entry).fit

    def fit(model: Any, pairs: Pairs, loop: Loop) -> Reward:
        steps = replace(loop, **{k: v for k, v in arguments.items() if k in LOOP})
        constants = {k: v for k, v in arguments.items() if k not in LOOP}
        fitted: Reward = function(model, pairs, **constants, loop=steps)
        return fitted

    rewards, replaced = world.refit(fit), set(world.task.rewards.names)
    known = world.facts

    def facts(policy: Sampler) -> dict[str, float]:
        """The world's exact quantities, without those of the reward models that were replaced."""
        return {k: v for k, v in known(policy).items() if k not in replaced} if known else {}

    return replace(world, task=world.task.replaced(rewards=rewards), facts=facts if known else None)
