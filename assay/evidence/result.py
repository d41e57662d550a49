"""A claim's result while its seeds are run: effects, falls, what was measured and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from assay.core import Claim
from assay.errors import InputError
from assay.evidence import tuning
from assay.registry.catalogue import Entry
from assay.stats.effects import Reading, drop, final, peak

Lines = list[Reading]


class Reads(dict[str, Lines]):
    """The arms of one seed, which remember which of them were read: those are compared, and their
    budgets have to be equal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read = set[str]()

    def __getitem__(self, arm: str) -> Lines:
        self.read.add(arm)
        return super().__getitem__(arm)

    def get(self, arm: str, default: Any = None) -> Any:
        """As of a dict."""
        if arm not in self:
            return default
        return self[arm]

    def values(self) -> Any:
        """As of a dict: all arms are read."""
        self.read |= set(self)
        return super().values()

    def items(self) -> Any:
        """As of a dict: an arm is read as it comes."""
        return self._items()

    def _items(self) -> Iterator[tuple[str, Lines]]:
        for arm in self:
            yield arm, self[arm]


def empty(
    entry: Entry,
    claim: Claim,
    world: Mapping[str, Any],
    loop: Mapping[str, Any],
    pilot: Mapping[str, Any],
) -> dict[str, Any]:
    """A result without seeds: what the claim says, with the constants that the pilot chose."""
    arms = tuning.arms_of(claim, pilot["chosen"])
    return {
        "name": entry.name,
        "title": entry.title,
        "statement": claim.statement,
        "world": dict(world),
        "flags": dict(loop),
        "arms": {k: list(v) for k, v in arms.items()},
        "loops": {},
        "turns": claim.turns,
        "least": claim.least,
        "numbered": numbered(claim, world["name"]),
        "control": list(claim.control),
        "broken": claim.broken,
        "premises": list(claim.premises),
        "shares": list(claim.shares),
        "differs": dict(claim.differs),
        "pilot": {k: pilot[k] for k in ("chosen", "table", "effects", "drops") if k in pilot},
        "seeds": [],
        "effects": [],
        "drops": [],
        "lines": {},
        "notes": [],
        "spent": {},
        "measured": {k: [] for k in claim.arms},
    }


def numbered(claim: Claim, world: str) -> list[int]:
    """The seeds on which a claim is judged in a world; none where its file numbers none.

    Raises:
        InputError: They cannot be read.
    """
    said = claim.seeds if isinstance(claim.seeds, str) else claim.seeds.get(world, "")
    low, dots, high = said.partition("..")
    try:
        if dots:
            return list(range(int(low), int(high) + 1))
        return [int(s) for s in said.split(",")] if said else []
    except ValueError as why:
        raise InputError(
            f"a claim's seeds are '{said}'; write them as 100..119 or 100,105,110"
        ) from why


def add(result: dict[str, Any], claim: Claim, seed: int, arms: Reads) -> None:
    """Add one seed's effect and the fall of the arm that must turn; None with a note where either
    cannot be measured.

    Raises:
        InputError: The effect lacks a part that the claim names.
    """
    result["seeds"].append(seed)
    effect = claim.effect
    assert effect is not None  # claim_of made sure of it
    asked: dict[str, Callable[[], float | dict[str, float]]] = {"effects": lambda: effect(arms)}
    if claim.turns is not None:
        turned = dict.__getitem__(arms, claim.turns)
        asked["drops"] = lambda: drop(turned)
    for what, value in asked.items():
        try:
            result[what].append(value())
        except ValueError as why:
            result[what].append(None)
            result["notes"].append(f"seed {seed}: {why}")
    _check_parts(result, claim)
    for arm in arms:
        readings = dict.__getitem__(arms, arm)
        if arm in result["loops"]:
            result["measured"][arm].append(_measured(readings))


def _check_parts(result: Mapping[str, Any], claim: Claim) -> None:
    found = result["effects"][-1]
    if found is None:
        return
    parts = found if isinstance(found, dict) else {"": found}
    least = claim.least if isinstance(claim.least, dict) else {}
    lacking = [p for p in parts if least and p not in {*least, *claim.control}]
    if lacking:
        raise InputError(
            f"{result['name']}'s claim states δ for {', '.join(repr(p) for p in least)}, and its "
            f"effect has '{lacking[0]}' too"
        )
    for name in claim.shares:
        if parts.get(name) not in (0, 1):
            raise InputError(
                f"{result['name']}'s claim says that its part '{name}' is 0 or 1 on each seed, and "
                f"it is {parts.get(name)}"
            )
    for name in (*claim.control, *claim.premises, *claim.shares, *least):
        if name not in parts:
            raise InputError(
                f"{result['name']}'s claim names the part '{name}', and its effect has "
                f"{', '.join(repr(p) for p in parts)}"
            )


def _measured(readings: Lines) -> dict[str, float | None]:
    """An arm's peak and drop at fresh addresses, its last gold and its last KL."""
    out: dict[str, float | None] = {"kl": [r["kl"] for r in readings if r["tag"] != "best"][-1]}
    for key, value in (("peak", peak), ("drop", drop), ("final", final)):
        try:
            out[key] = value(readings)
        except (ValueError, IndexError):
            out[key] = None  # this world has no gold, or the run has no second reading
    return out
