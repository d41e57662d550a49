"""Runs what papers claim: every arm on every seed, one effect a seed.

A claim that does not hold is a result. rule.py has the rule of judgement, the same for all papers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from assay.core import Claim
from assay.engine import progress
from assay.errors import InputError
from assay.evidence.arms import Seed
from assay.evidence.results import folder, path_of, read, rows, save
from assay.evidence.rule import judged
from assay.records.provenance import provenance
from assay.registry import catalogue
from assay.registry.catalogue import Entry
from assay.stats.effects import Reading, drop, final, peak

__all__ = ["claim_of", "folder", "judged", "path_of", "read", "rows", "run", "save"]


def run(
    entries: Iterable[Entry],
    *,
    seeds: Iterable[int],
    world: str,
    world_arguments: Mapping[str, Any],
    loop: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Run the claims of some papers. An arm that several papers compare with is run once a seed.

    Args:
        entries: The papers.
        seeds: Each is the world's and the run's alike, so that proxies are fitted anew.
        world: The world's name.
        world_arguments: The world's arguments that are not defaults.
        loop: Fields of the Loop that are not the papers' own.

    Returns:
        One result a paper, as JSON values.

    Raises:
        InputError: A paper makes no claim, or its claim is not well made.
    """
    papers = {e.name: (e, claim_of(e)) for e in entries}
    build = catalogue.load_world(world)
    results = {
        name: {**_empty(e, c, world, world_arguments), "flags": dict(loop)}
        for name, (e, c) in papers.items()
    }
    began = time.perf_counter()
    for seed in progress.over(list(seeds), "claims", "seeds"):
        there = Seed(build, seed, loop)
        for name, (_, claim) in papers.items():
            arms = {}
            for arm, (other, arguments) in claim.arms.items():
                needs = {
                    f"world.{k}": v
                    for k, v in {**claim.on.get(world, {}), **world_arguments}.items()
                }
                arms[arm], used = there.arm(other, {**needs, **arguments})
                if used is not None:
                    results[name]["loops"][arm] = asdict(used)
                    results[name]["measured"][arm].append(_measured(arms[arm]))
                else:
                    results[name]["lines"].setdefault(arm, arms[arm])
            _add(results[name], claim, seed, arms)
    made = {
        **provenance(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 1),
    }
    return [{**r, **made} for r in results.values()]


def claim_of(entry: Entry) -> Claim:
    """Return the Claim of a paper's file.

    Args:
        entry: The paper.

    Raises:
        InputError: It makes none, or the arm that turns is none of its arms.
    """
    claim = getattr(catalogue.load(entry), "claim", None)
    if not isinstance(claim, Claim) or claim.effect is None:
        raise InputError(
            f"{entry.name} makes no claim: its file has no function claim under @Claim(…)"
        )
    if claim.turns is not None and claim.turns not in claim.arms:
        raise InputError(
            f"{entry.name}'s claim says that '{claim.turns}' turns, and its arms are "
            f"{', '.join(claim.arms)}"
        )
    return claim


def _empty(entry: Entry, claim: Claim, world: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "statement": claim.statement,
        "world": {"name": world, **{k: v for k, v in arguments.items() if k != "seed"}},
        "arms": {k: list(v) for k, v in claim.arms.items()},
        "loops": {},
        "turns": claim.turns,
        "least": claim.least,
        "seeds": [],
        "effects": [],
        "drops": [],
        "lines": {},
        "notes": [],
        "measured": {k: [] for k in claim.arms},
    }


def _add(result: dict[str, Any], claim: Claim, seed: int, arms: dict[str, list[Reading]]) -> None:
    """Add one seed's effect and the fall of the arm that must turn; None with a note where either
    cannot be measured.
    """
    result["seeds"].append(seed)
    effect = claim.effect
    assert effect is not None  # claim_of made sure of it
    asked: dict[str, Callable[[], float | dict[str, float]]] = {"effects": lambda: effect(arms)}
    if claim.turns is not None:
        turns = claim.turns
        asked["drops"] = lambda: drop(arms[turns])
    for key, value in asked.items():
        try:
            result[key].append(value())
        except ValueError as why:
            result[key].append(None)
            result["notes"].append(f"seed {seed}: {why}")


def _measured(readings: list[Reading]) -> dict[str, float | None]:
    """An arm's peak and drop at fresh addresses, its last gold and its last KL."""
    out: dict[str, float | None] = {"kl": [r["kl"] for r in readings if r["tag"] != "best"][-1]}
    for key, value in (("peak", peak), ("drop", drop), ("final", final)):
        try:
            out[key] = value(readings)
        except (ValueError, IndexError):
            out[key] = None  # this world has no gold, or the run has no second reading
    return out
