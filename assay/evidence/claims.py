"""Runs what papers claim: every arm on every seed, one effect a seed.

First the pilot, on seeds 0 to 4: it chooses the arms' constants (`tuning`) and shows the spread by
which δ and the number of seeds are set. Then the seeds that the claim's file numbers. A claim that
does not hold is a result. rule.py has the rule of judgement, the same for all papers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from assay.core import Claim
from assay.engine import progress
from assay.errors import InputError
from assay.evidence import spending, tuning
from assay.evidence.arms import Seed
from assay.evidence.result import Reads, add, empty, numbered
from assay.evidence.result_files import folder, path_of, read, rows, save
from assay.evidence.rule import judged
from assay.records.provenance import provenance
from assay.registry import catalogue
from assay.registry.catalogue import Entry

__all__ = [
    "Plan",
    "claim_of",
    "folder",
    "judged",
    "path_of",
    "pilots",
    "read",
    "rows",
    "run",
    "save",
]


class Plan:
    """Where some papers' claims are run, and how.

    Args:
        entries: The papers. An arm that several of them compare with is run once a seed.
        world: The world's name.
        world_arguments: The world's arguments that are not defaults.
        loop: Fields of the Loop that are not the papers' own.

    Raises:
        InputError: A paper makes no claim, or its claim is not well made.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        *,
        world: str,
        world_arguments: Mapping[str, Any],
        loop: Mapping[str, Any],
    ):
        self.papers = {e.name: (e, claim_of(e)) for e in entries}
        self.build, self.loop = catalogue.load_world(world), dict(loop)
        more = {k: v for k, v in world_arguments.items() if k not in ("seed", "name")}
        self.world = {"name": world, **more}

    def only(self, names: Iterable[str]) -> Plan:
        """The same for some of the papers."""
        plan = Plan((), world=self.world["name"], world_arguments=self.world, loop=self.loop)
        plan.papers = {n: self.papers[n] for n in names}
        return plan

    def seeds(self, numbers: Iterable[int], what: str) -> Iterator[tuple[int, Seed]]:
        """Each seed, shown as it is worked on."""
        for seed in progress.over(list(numbers), what, "seeds"):
            yield seed, Seed(self.build, seed, self.loop)

    def arm(self, claim: Claim, there: Seed, arm: tuning.Arm) -> tuple[list[dict[str, Any]], Any]:
        """Run an arm with what the claim needs of this world."""
        return there.arm(arm[0], self._arguments(claim, arm))

    def pairs(self, claim: Claim, there: Seed, arm: tuning.Arm) -> int:
        """The preference pairs of an arm's world."""
        return there.pairs(self._arguments(claim, arm))

    def _arguments(self, claim: Claim, arm: tuning.Arm) -> dict[str, Any]:
        asked = {k: v for k, v in self.world.items() if k != "name"}
        needs = {**claim.on.get(self.world["name"], {}), **asked}
        return {**{f"world.{k}": v for k, v in needs.items()}, **arm[1]}

    def key(self, claim: Claim) -> str:
        """What a pilot of a claim is made with."""
        return tuning.key(claim, self.world, self.loop)


def pilots(plan: Plan) -> dict[str, dict[str, Any]]:
    """Choose every claim's constants on seeds 0 to 4, and find its effect there.

    Args:
        plan: The papers and where they are run.

    Returns:
        By paper: the seeds, what was chosen, each setting's mean, the effects, falls and spending.

    Raises:
        InputError: A claim's effect compares an arm that was tuned with one that was not.
    """
    made = {}
    there = {seed: Seed(plan.build, seed, plan.loop) for seed in tuning.SEEDS}
    for name, (_, claim) in progress.over(list(plan.papers.items()), "pilots", "claims"):

        def run(seed: int, arm: tuning.Arm, claim: Claim = claim) -> list[dict[str, Any]]:
            return plan.arm(claim, there[seed], arm)[0]

        chosen, table = tuning.choose(claim, run)
        text = tuning.text(claim)
        pilot = {"key": plan.key(claim), "text": text, "chosen": chosen, "table": table}
        result = empty(plan.papers[name][0], claim, plan.world, plan.loop, pilot)
        for seed in tuning.SEEDS:
            _one(plan, claim, result, seed, there[seed])
        kept = ("seeds", "effects", "drops", "notes", "spent")
        made[name] = {**pilot, **{k: result[k] for k in kept}, **_made()}
    return made


def run(
    plan: Plan, *, pilot: Mapping[str, Mapping[str, Any]], seeds: Iterable[int] | None = None
) -> list[dict[str, Any]]:
    """Run the claims of some papers.

    Args:
        plan: The papers and where they are run.
        pilot: What was chosen, by paper, from `pilots`.
        seeds: Each is the world's and the run's alike, so that proxies are fitted anew; None for
            those that each claim numbers.

    Returns:
        One result a paper, as JSON values.

    Raises:
        InputError: A claim numbers no seeds and none are given, or a pilot is of another claim.
    """
    began, results = time.perf_counter(), dict[str, dict[str, Any]]()
    asked = dict[int, list[str]]()
    given = None if seeds is None else list(seeds)
    for name, (entry, claim) in plan.papers.items():
        if not tuning.made_with(pilot[name], claim, plan.key(claim)):
            raise InputError(f"the pilot of {name} is of another claim; run it again by --pilot")
        results[name] = empty(entry, claim, plan.world, plan.loop, pilot[name])
        mine = numbered(claim, plan.world["name"]) if given is None else given
        if not mine:
            raise InputError(f"{name}'s claim numbers no seeds; give --seeds, such as 100..119")
        for seed in mine:
            asked.setdefault(seed, []).append(name)
    for seed, there in plan.seeds(sorted(asked), "claims"):
        for name in asked[seed]:
            _one(plan, plan.papers[name][1], results[name], seed, there)
    made = {**_made(), "seconds": round(time.perf_counter() - began, 1)}
    return [{**r, **made} for r in results.values()]


def _one(plan: Plan, claim: Claim, result: dict[str, Any], seed: int, there: Seed) -> None:
    """Run one seed's arms, and add its effect and what its arms spent."""
    arms = Reads()
    for arm, (name, arguments) in result["arms"].items():
        arms[arm], used = plan.arm(claim, there, (name, arguments))
        if used is not None:
            result["loops"][arm] = asdict(used)
        else:
            result["lines"].setdefault(arm, arms[arm])
    add(result, claim, seed, arms)
    tuning.check_even(claim, arms.read)
    for arm in sorted(arms.read):
        counts = spending.spent(arm, dict.__getitem__(arms, arm)) or {arm: {}}
        if arm in result["loops"]:
            name, constants = result["arms"][arm]  # a list, where it was read from a file
            counts[arm]["pairs"] = plan.pairs(claim, there, (name, constants))
        spending.add(result["spent"], counts)


def _made() -> dict[str, Any]:
    return {**provenance(), "made": datetime.now(UTC).isoformat(timespec="seconds")}


def claim_of(entry: Entry) -> Claim:
    """Return the Claim of a paper's file.

    Args:
        entry: The paper.

    Raises:
        InputError: It makes none, or it is not well made: the arm that turns is none of its arms,
            its grids differ in size, or it is judged on a seed that constants are chosen on.
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
    tuning.grids(claim)
    spending.check_named(claim.differs)
    for world in claim.worlds:
        if early := sorted(set(numbered(claim, world)) & set(tuning.SEEDS)):
            raise InputError(
                f"{entry.name}'s claim is judged on seed {early[0]}, and seeds 0 to 4 are those "
                "that constants and δ are chosen on"
            )
    return claim
