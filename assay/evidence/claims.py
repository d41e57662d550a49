"""What a paper says, run here: every arm on every seed, one effect a seed, one rule of judgement
for all papers.

A claim that fails is a result. The rule: at least five paired seeds; the arm named `turns` must
visibly fall from its peak; the claim holds here if the 95 % Student-t interval of the mean effect
lies above 0, does not hold here if all of it lies below the least effect worth the name
(`Claim.least`; a tenth of the fall of the arm that turns, said before the seeds are run), and
cannot be shown here otherwise.
"""

from __future__ import annotations

import inspect
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assay.core import Claim, Loop, World
from assay.errors import InputError
from assay.evaluation.measure import measure
from assay.records.runs import provenance
from assay.registry import catalogue
from assay.registry.catalogue import Entry
from assay.stats.effects import Reading, drop, final, peak
from assay.worlds.refit import refitted

SEEDS = 5
# of what over-optimisation costs the baseline: a mitigation that gives less is of no use to anybody
TENTH = 0.1
Recipe = Callable[..., Iterator[Any]]


def run(
    entries: Iterable[Entry],
    *,
    seeds: Iterable[int],
    world: str,
    world_arguments: Mapping[str, Any],
    loop: Mapping[str, Any],
    around: Callable[[Recipe, str], Recipe] = lambda recipe, label: recipe,
) -> list[dict[str, Any]]:
    """Run the claims of some papers and return one result each. A seed is the world's and the run's
    alike, so that proxies are fitted anew; an arm that several papers compare with is run once a
    seed. `around(recipe, label)` may wrap a recipe, to show how far it is.
    """
    papers = {e.name: (e, claim_of(e)) for e in entries}
    build = catalogue.load_world(world)
    results = {
        name: {**_empty(e, c, world, world_arguments), "flags": dict(loop)}
        for name, (e, c) in papers.items()
    }
    began = time.perf_counter()
    for seed in seeds:
        there = _Seed(build, seed, loop, around)
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


class _Seed:
    """One seed's worlds and arms, each made once however many papers ask for it."""

    def __init__(
        self,
        build: Callable[..., World],
        seed: int,
        loop: Mapping[str, Any],
        around: Callable[[Recipe, str], Recipe],
    ):
        self.build, self.seed, self.loop, self.around = build, seed, loop, around
        self.seeded = "seed" in inspect.signature(build).parameters
        self.worlds: dict[str, World] = {}
        self.arms: dict[str, tuple[list[Any], Loop | None]] = {}

    def arm(self, name: str, arguments: Mapping[str, Any]) -> tuple[list[Any], Loop | None]:
        """Readings of a recipe and the Loop it ran with, or the lines of a study and None."""
        key = json.dumps([name, arguments], sort_keys=True)
        if key not in self.arms:
            entry = catalogue.find(name)
            function = getattr(catalogue.load(entry), entry.verb)
            world, own = self._world(arguments)
            if entry.verb == "study":
                self.arms[key] = list(function(world, **own)), None
            else:
                loop, own = _resolved(function, world, {**own, **self.loop, "seed": self.seed})
                shown = self.around(function, f"seed {self.seed}: {name}")
                self.arms[key] = list(measure(shown, world, loop=loop, arguments=own)), loop
        return self.arms[key]

    def _world(self, arguments: Mapping[str, Any]) -> tuple[World, dict[str, Any]]:
        """An arm's world, its judges fitted anew where it says so, and the arguments that are left
        for the paper.
        """
        theirs = {
            k.removeprefix("world."): v for k, v in arguments.items() if k.startswith("world.")
        }
        fit = {k.removeprefix("fit."): v for k, v in arguments.items() if k.startswith("fit.")}
        own = {
            k: v
            for k, v in arguments.items()
            if k != "fit" and not k.startswith(("world.", "fit."))
        }
        key = json.dumps(theirs, sort_keys=True)
        if key not in self.worlds:
            self.worlds[key] = self.build(
                **{**theirs, **({"seed": self.seed} if self.seeded else {})}
            )
        judged = json.dumps([theirs, arguments.get("fit"), fit], sort_keys=True)
        if "fit" in arguments and judged not in self.worlds:
            self.worlds[judged] = refitted(self.worlds[key], arguments["fit"], fit)
        return self.worlds[judged if "fit" in arguments else key], own


def claim_of(entry: Entry) -> Claim:
    """The Claim of a paper's file. Raises InputError where it makes none."""
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


def _resolved(
    function: Recipe, world: Any, arguments: Mapping[str, Any]
) -> tuple[Loop, dict[str, Any]]:
    """An arm's Loop and the constants that are the paper's own."""
    names = {f.name for f in fields(Loop)}
    loop: Loop = catalogue.loop_of(
        function, world.loop, {k: v for k, v in arguments.items() if k in names}
    )
    return loop, {k: v for k, v in arguments.items() if k not in names}


def _add(result: dict[str, Any], claim: Claim, seed: int, arms: dict[str, list[Reading]]) -> None:
    """One seed's effect and the fall of the arm that must turn; None with a note where either
    cannot be had.
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
    """What a reader wants of one arm's run: peak and fall at fresh addresses, the last gold and the
    last KL.
    """
    out: dict[str, float | None] = {"kl": [r["kl"] for r in readings if r["tag"] != "best"][-1]}
    for key, value in (("peak", peak), ("drop", drop), ("final", final)):
        try:
            out[key] = value(readings)
        except (ValueError, IndexError):
            out[key] = None  # this world has no gold, or the run no second look
    return out


def save(result: Mapping[str, Any], folder: Path) -> Path:
    """Write one result to folder/NAME.WORLD.json, over an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['name']}.{Path(result['world']['name']).stem}.json"
    path.write_text(
        json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    return path


def rows(entries: Iterable[Entry], folder: Path) -> list[dict[str, Any]]:
    """Every claim with its verdict: one row a result file, or one "not run" row. Reads files and
    runs nothing.
    """
    out = []
    for e in entries:
        if e.statement is None:
            continue
        found = [read(p) for p in sorted(folder.glob(f"{e.name}.*.json"))]
        said = {"statement": e.statement, "measure": " ".join(e.effect.split())}
        out += [{**judged(r), **said} for r in found] or [
            {
                "name": e.name,
                "title": e.title,
                "verdict": "not run",
                "effect": None,
                "low": None,
                "high": None,
                "seeds": 0,
                "world": None,
                **said,
                "why": "there is no result yet",
            }
        ]
    return out


def read(path: Path) -> dict[str, Any]:
    """A result file. Raises InputError, naming it, where it is damaged."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        judged(result)
    except (ValueError, KeyError, TypeError) as why:
        raise InputError(
            f"{path} is damaged ({type(why).__name__}: {str(why)[:80]}); run assay claims --run "
            "again"
        ) from why
    return dict(result)


def judged(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result with its verdict: "holds here", "does not hold here" or "cannot be shown here", and
    why.
    """
    effects = [parted(e) for e in result["effects"] if e is not None]
    drops = [d for d in result["drops"] if d is not None]
    fall, lowest, highest = interval(drops)
    floor = result.get("least")
    if floor is None:
        floor = max(0.0, TENTH * fall) if result["turns"] and fall is not None else 0.0
    said, part, (mean, low, high), against = verdict(effects, least=floor)
    row = {
        "name": result["name"],
        "title": result["title"],
        "verdict": "cannot be shown here",
        "effect": mean,
        "low": low,
        "high": high,
        "seeds": len(result["seeds"]),
        "world": result["world"]["name"],
        "why": "",
        "command": command(result),
        "arms": result.get("arms", {}),
        "measured": result.get("measured", {}),
        "lines": result.get("lines", {}),
        "first": result["seeds"][0] if result["seeds"] else None,
    }
    if len(result["seeds"]) < SEEDS:
        row["why"] = f"{len(result['seeds'])} seeds were run and {SEEDS} are the least"
    elif len(effects) < len(result["seeds"]) or (
        result["turns"] and len(drops) < len(result["seeds"])
    ):
        row["why"] = "; ".join(result["notes"])
    elif result["turns"] and (lowest is None or lowest <= 0):
        row["why"] = (
            f"the baseline does not visibly turn: it falls by {fall:.3f} [{lowest:.3f}, "
            f"{highest:.3f}]"
        )
    else:
        row["verdict"] = said
        below = (
            "0" if high is None or high <= 0 else f"{floor:.3f}, the least effect worth the name"
        )
        row["why"] = {
            "holds here": "the interval lies above 0",
            "does not hold here": f"the interval lies below {below}",
        }.get(said, "the interval covers 0: these seeds cannot tell")
        if part:
            row["why"] = f"of its {against} parts the weakest is “{part}”: {row['why']}"
    if result["turns"] and row["verdict"] in ("holds here", "does not hold here"):
        row["why"] += (
            f", and the baseline turns (it falls by {fall:.3f} [{lowest:.3f}, {highest:.3f}])"
        )
    return row


def parted(effect: float | dict[str, float]) -> dict[str, float]:
    """One seed's effect by its parts; a plain number is its own only part."""
    return effect if isinstance(effect, dict) else {"": effect}


def verdict(
    effects: list[dict[str, float]], *, least: float = 0.0
) -> tuple[str, str, tuple[float | None, float | None, float | None], int]:
    """(verdict, the weakest part's name, its mean and the interval that decided, how many parts
    there are).

    A claim of several parts holds if every part does (each at 95 %, an intersection-union test),
    and does not if one lies below `least` at a level divided by the number of parts. Taking the
    least part of each seed instead would be biased downwards.
    """
    names = list(effects[0]) if effects else [""]
    each = {n: interval([e[n] for e in effects]) for n in names}
    strict = {n: interval([e[n] for e in effects], level=1 - 0.05 / len(names)) for n in names}
    fails = [
        n
        for n in names
        if (h := strict[n][2]) is not None and h <= least and (each[n][1] or 0.0) <= 0
    ]
    lows = {n: each[n][1] for n in names if each[n][1] is not None}
    if not lows:
        return (
            "cannot be shown here",
            "" if len(names) == 1 else names[0],
            each[names[0]],
            len(names),
        )
    worst = min(fails or lows, key=lambda n: lows[n] or 0.0)
    said = (
        "does not hold here"
        if fails
        else "holds here"
        if min(v or 0.0 for v in lows.values()) > 0
        else "cannot be shown here"
    )
    return said, worst, each[worst] if said == "holds here" else strict[worst], len(names)


def command(result: Mapping[str, Any]) -> str:
    """The words that make this result again."""
    seeds, world = result["seeds"], dict(result["world"])
    whole = len(seeds) > 1 and seeds == list(range(seeds[0], seeds[-1] + 1))
    said = f"{seeds[0]}..{seeds[-1]}" if whole else ",".join(map(str, seeds))
    more = {**{f"world.{k}": v for k, v in world.items() if k != "name"}, **result.get("flags", {})}
    extra = "".join(
        f" --{k} {json.dumps(v) if not isinstance(v, str) else v}" for k, v in more.items()
    )
    return f"assay claims --run {result['name']} --world {world['name']} --seeds {said}{extra}"


def interval(
    values: list[float], *, level: float = 0.95
) -> tuple[float | None, float | None, float | None]:
    """Mean and Student-t interval; (None, None, None) of nothing, (mean, None, None) of one."""
    if len(values) < 2:
        return (values[0] if values else None), None, None
    mean = statistics.fmean(values)
    half = student(len(values) - 1, level=level) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def student(df: int, *, level: float = 0.95) -> float:
    """The t with P(|T| ≤ t) = level at df degrees of freedom, by bisection."""
    low, high = 0.0, 1.0
    while _within(high, df) < level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, df) < level else (low, middle)
    return (low + high) / 2


def _within(t: float, df: int) -> float:
    """P(|T| ≤ t), a finite sum for whole df (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(df))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    term = total = 1.0 if df % 2 == 0 else math.cos(angle)
    for j in range(1, (df - 2) // 2 + 1 if df % 2 == 0 else (df - 3) // 2 + 1):
        term *= square * ((2 * j - 1) / (2 * j) if df % 2 == 0 else 2 * j / (2 * j + 1))
        total += term
    if df % 2 == 0:
        return sine * total
    return 2 / math.pi * (angle + (sine * total if df > 1 else 0.0))
