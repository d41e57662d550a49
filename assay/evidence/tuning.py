"""Constants of a claim's arms, chosen on seeds 0 to 4 alone: no side by hand, none with hindsight.

Every grid has the same number of settings, so that no side is tuned with more care. A negative
control takes what the arm chose whose mechanism it breaks.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import itertools
import json
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from assay.core import Claim
from assay.errors import InputError
from assay.stats.effects import final
from assay.stats.intervals import bounds

SEEDS = (0, 1, 2, 3, 4)
Arm = tuple[str, dict[str, Any]]


def settings(grid: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Every setting of a grid of constants, in the order of the grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def grids(claim: Claim) -> dict[str, list[dict[str, Any]]]:
    """The settings of every arm that has a grid of its own.

    Raises:
        InputError: A grid is of no arm, or grids differ in size, or one follows an arm without one.
    """
    own = {arm: settings(g) for arm, g in claim.tuned.items() if not isinstance(g, str)}
    follows = {arm: g for arm, g in claim.tuned.items() if isinstance(g, str)}
    odd = [a for a in claim.tuned if a not in claim.arms]
    if odd:
        raise InputError(f"a claim tunes '{odd[0]}', and its arms are {', '.join(claim.arms)}")
    lost = [a for a, other in follows.items() if other and other not in own]
    if lost:
        raise InputError(
            f"a claim's arm '{lost[0]}' takes what '{follows[lost[0]]}' chose, which has no grid"
        )
    sizes = {arm: len(s) for arm, s in own.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"a claim's grids differ in size ({', '.join(f'{a} {n}' for a, n in sizes.items())}): "
            "both sides are tuned with equal care"
        )
    return own


def check_even(claim: Claim, read: set[str]) -> None:
    """Raise InputError where the effect compares an arm that was tuned with one that was not."""
    bare = sorted(a for a in read if a not in claim.tuned)
    if claim.tuned and bare:
        raise InputError(
            f"a claim tunes {', '.join(claim.tuned)}, and its effect reads '{bare[0]}', which has "
            "no grid: both sides are tuned with equal care"
        )


def choose(
    claim: Claim, run: Callable[[int, Arm], list[dict[str, Any]]]
) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Choose every arm's constants by the highest mean on the seeds for tuning.

    Args:
        claim: The claim.
        run: (seed, arm) → the arm's readings or lines.

    Returns:
        (arm → its constants, arm → each setting with its mean and interval).
    """
    by = claim.by or final
    chosen, table = dict[str, dict[str, Any]](), dict[str, list[dict[str, Any]]]()
    for arm, each in grids(claim).items():
        name, arguments = claim.arms[arm]
        table[arm] = []
        for constants in each:
            scores = [by(run(seed, (name, {**arguments, **constants}))) for seed in SEEDS]
            mean, low, high = bounds(scores)
            table[arm].append({"constants": constants, "mean": mean, "low": low, "high": high})
        chosen[arm] = max(table[arm], key=lambda s: s["mean"])["constants"]
    for arm, grid in claim.tuned.items():
        if isinstance(grid, str) and grid:
            chosen[arm] = chosen[grid]
    return chosen, table


def arms_of(claim: Claim, chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, Arm]:
    """The claim's arms with the constants that were chosen for them."""
    return {a: (name, {**given, **chosen.get(a, {})}) for a, (name, given) in claim.arms.items()}


def key(claim: Claim, world: Mapping[str, Any], loop: Mapping[str, Any]) -> str:
    """What a pilot was made with, in 16 letters: another claim, world or loop needs another one."""
    by = (claim.by or final).__name__
    said = [claim.arms, claim.tuned, by, claim.on.get(world["name"], {}), world, loop]
    text = json.dumps(said, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def text(claim: Claim) -> str:
    """The code of what a claim chooses by and of its effect, in 16 letters.

    What they call is not in it, nor are decorators: δ and seeds are written there after the pilot.
    """
    said = [_code(f) for f in (claim.by or final, claim.effect) if f is not None]
    return hashlib.sha256("".join(said).encode()).hexdigest()[:16]


def _code(function: Callable[..., Any]) -> str:
    """A function without its decorators and comments; a lambda's lines as they stand."""
    source = textwrap.dedent(inspect.getsource(function))
    try:
        (node,) = ast.parse(source).body
    except SyntaxError:
        return source
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = []
    return ast.dump(node)


def made_with(pilot: Mapping[str, Any], claim: Claim, key: str) -> bool:
    """Whether a pilot is of this claim in this world. Older pilots do not hold the text."""
    return bool(pilot["key"] == key and pilot.get("text", text(claim)) == text(claim))
