"""The verdict on a claim: one rule for all papers.

At least five paired seeds; the arm named `turns` must visibly fall from its peak. The claim holds
here if the 95 % Student-t interval of the mean effect lies above 0. It does not hold here if all of
the interval is smaller than the smallest effect of interest, δ: `Claim.least`, or a tenth of the
fall of the arm that turns, said before the seeds are run. Else it cannot be shown here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from assay.stats.intervals import bounds

SEEDS = 5
# of what over-optimisation costs the baseline: a mitigation that gives less is of no use
TENTH = 0.1
Interval = tuple[float | None, float | None, float | None]
HOLDS, FAILS, UNSHOWN = "holds here", "does not hold here", "cannot be shown here"


def judged(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with its verdict.

    Args:
        result: A result file.

    Returns:
        A row: the verdict ("holds here", "does not hold here" or "cannot be shown here"), why, the
        mean effect with the interval that decided, and what was run.
    """
    effects = [parts(e) for e in result["effects"] if e is not None]
    drops = [d for d in result["drops"] if d is not None]
    fall, lowest, highest = bounds(drops)
    least = result.get("least")
    if least is None:
        least = max(0.0, TENTH * fall) if result["turns"] and fall is not None else 0.0
    said, part, (mean, low, high), count = verdict(effects, least=least)
    missing = _missing(result, len(effects), drops)
    row = {
        "name": result["name"],
        "title": result["title"],
        "verdict": UNSHOWN if missing else said,
        "effect": mean,
        "low": low,
        "high": high,
        "seeds": len(result["seeds"]),
        "world": result["world"]["name"],
        "why": missing or _why(said, high, least),
        "command": command(result),
        "arms": result.get("arms", {}),
        "measured": result.get("measured", {}),
        "lines": result.get("lines", {}),
        "first": result["seeds"][0] if result["seeds"] else None,
    }
    if part and not missing:
        row["why"] = f"of its {count} parts the weakest is “{part}”: {row['why']}"
    if result["turns"] and row["verdict"] in (HOLDS, FAILS):
        row["why"] += (
            f", and the baseline turns (it falls by {fall:.3f} [{lowest:.3f}, {highest:.3f}])"
        )
    return row


def _missing(result: Mapping[str, Any], effects: int, drops: list[float]) -> str:
    """What keeps these seeds from deciding anything, "" where nothing does."""
    seeds = len(result["seeds"])
    if seeds < SEEDS:
        return f"{seeds} seeds were run and {SEEDS} are the least"
    if effects < seeds or (result["turns"] and len(drops) < seeds):
        return "; ".join(result["notes"])
    fall, low, high = bounds(drops)
    if result["turns"] and (low is None or low <= 0):
        return f"the baseline does not visibly turn: it falls by {fall:.3f} [{low:.3f}, {high:.3f}]"
    return ""


def _why(said: str, high: float | None, least: float) -> str:
    """What the interval says."""
    if said == HOLDS:
        return "the interval lies above 0"
    if said != FAILS:
        return "the interval covers 0: these seeds cannot tell"
    if high is None or high <= 0:
        return "the interval lies below 0"
    return f"the interval lies below {least:.3f}, the smallest effect of interest (δ)"


def parts(effect: float | dict[str, float]) -> dict[str, float]:
    """One seed's effect by its parts; a plain number is its own only part."""
    return effect if isinstance(effect, dict) else {"": effect}


def verdict(
    effects: list[dict[str, float]], *, least: float = 0.0
) -> tuple[str, str, Interval, int]:
    """Decide a claim of one or several parts.

    It holds if every part does (each at 95 %, an intersection-union test). It does not if one part
    lies below `least` at a level divided by the number of parts. Taking the smallest part of each
    seed instead would be biased downwards.

    Args:
        effects: Each seed's effect by part.
        least: The smallest effect of interest.

    Returns:
        (verdict, the weakest part's name, its mean and the interval that decided, how many parts
        there are).

    Example:
        >>> verdict([{"": 1.0}, {"": 1.1}, {"": 0.9}, {"": 1.2}, {"": 1.0}])[0]
        'holds here'
    """
    names = list(effects[0]) if effects else [""]
    each = {n: bounds([e[n] for e in effects]) for n in names}
    strict = {n: bounds([e[n] for e in effects], level=1 - 0.05 / len(names)) for n in names}
    fails = [
        n
        for n in names
        if (h := strict[n][2]) is not None and h <= least and (each[n][1] or 0.0) <= 0
    ]
    lows = {n: low for n in names if (low := each[n][1]) is not None}
    if not lows:
        return UNSHOWN, "" if len(names) == 1 else names[0], each[names[0]], len(names)
    worst = min(fails or lows, key=lambda n: lows[n])
    said = FAILS if fails else HOLDS if min(lows.values()) > 0 else UNSHOWN
    return said, worst, each[worst] if said == HOLDS else strict[worst], len(names)


def command(result: Mapping[str, Any]) -> str:
    """The command that makes this result again."""
    seeds, world = result["seeds"], dict(result["world"])
    whole = len(seeds) > 1 and seeds == list(range(seeds[0], seeds[-1] + 1))
    said = f"{seeds[0]}..{seeds[-1]}" if whole else ",".join(map(str, seeds))
    more = {**{f"world.{k}": v for k, v in world.items() if k != "name"}, **result.get("flags", {})}
    extra = "".join(
        f" --{k.replace('_', '-')} {v if isinstance(v, str) else json.dumps(v)}"
        for k, v in more.items()
    )
    return f"assay claims --run {result['name']} --world {world['name']} --seeds {said}{extra}"
