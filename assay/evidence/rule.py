"""The verdict on a claim: one rule for all papers.

δ, `Claim.least`, is the smallest effect of interest, a number in the claim's file, set on seeds 0
to 4. On the numbered seeds each part of the effect gets a 95 % Student-t interval; of several parts
each is at 1 − 0.05/parts, so that all of them cover at once. A part that is 0 or 1 on each seed
(`Claim.shares`) has the exact binomial interval instead: Student's of thirty ones is a point.

    holds here            every part's interval lies above its δ
    does not hold here    one part's interval lies below its δ
    undecided             neither, or a premise does not hold
    no verdict            it cannot be judged: see `refused`

A premise is a part, too: it has to lie above its δ before the others mean anything, as the arm that
turns must fall. More seeds than the claim numbers were added after a look, so the intervals are
then those that hold at all times at once (`formulas.confidence.student`, and for a share
`stats.proportions.share_at_any_time`).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from typing import Any

from assay.evidence.spending import unequal
from assay.stats.intervals import bounds, detectable
from assay.stats.proportions import exact_share, share_at_any_time

SEEDS = 5
LEVEL = 0.95
HOLDS, FAILS, UNDECIDED, NONE = "holds here", "does not hold here", "undecided", "no verdict"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NONE)
Effect = float | dict[str, float]


def judged(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with its verdict.

    Args:
        result: A result file.

    Returns:
        A row: the verdict, why, the mean effect of the part that decided with its interval, every
        part, and what was run.
    """
    if result.get("outdated"):
        result = _former(result)
    why, found = refused(result), parts(result)
    said, part = (NONE, None) if why else verdict(result, found)
    decisive = part or (found[0] if found else {})
    return {
        "name": result["name"],
        "title": result["title"],
        "verdict": said,
        "effect": decisive.get("mean"),
        "low": decisive.get("low"),
        "high": decisive.get("high"),
        "least": decisive.get("least"),
        "parts": found,
        "extended": extended(result),
        "seeds": len(result["seeds"]),
        "world": result["world"]["name"],
        "why": why or _why(result, said, decisive, len(found)),
        "command": command(result),
        "first": result["seeds"][0] if result["seeds"] else None,
        **{k: result.get(k, {}) for k in KEPT},
    }


def summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a result that another one replaces: its seeds, verdict and effect."""
    row = judged({**result, "outdated": False})
    said = {k: row[k] for k in ("verdict", "effect", "low", "high", "why")}
    return {"seeds": result["seeds"], **said, "made": result.get("made")}


def _former(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result whose claim has changed since: nothing but its old verdict stands."""
    none: dict[str, Any] = {key: [] for key in ("seeds", "numbered", "effects", "drops")}
    none |= {key: {} for key in ("arms", "lines", "spent", "measured", "differs", "pilot")}
    earlier = [*result.get("earlier", []), summary(result)]
    return {**result, **none, "broken": "", "flags": {}, "earlier": earlier}


KEPT = ("arms", "measured", "lines", "spent", "differs", "broken", "pilot", "turns", "earlier")


def refused(result: Mapping[str, Any]) -> str:
    """Why a result gets no verdict, "" where it can be judged."""
    numbered, seeds = result.get("numbered", []), result["seeds"]
    effects = [e for e in result["effects"] if e is not None]
    left = sorted(set(numbered) - set(seeds))
    if result.get("outdated"):
        return "its claim has changed since it was run; run it again"
    if "numbered" not in result:
        return "it was run before its file stated δ and seeds; run it again"
    if result.get("least") is None:
        return "its file states no smallest effect of interest (δ)"
    if not numbered:
        return "its file numbers no seeds"
    if len(numbered) < SEEDS:
        return f"its file numbers {len(numbered)} seeds and {SEEDS} are the least"
    if left:
        return f"{len(left)} of its {len(numbered)} numbered seeds were not run, such as {left[0]}"
    if not result.get("control"):
        return "its file names no negative control"
    if len(effects) < len(seeds) or any(d is None for d in result["drops"]):
        return "; ".join(result["notes"])
    return unequal(result.get("spent", {}), result.get("differs", {}))


def parts(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every part of the effect with its interval.

    Args:
        result: A result file.

    Returns:
        Of each part: name, role (effect, control or premise), mean, low, high, median, least (δ),
        and `sees`, the smallest true effect that these seeds place above δ in four of five
        experiments.
    """
    effects = [by_part(e) for e in result["effects"] if e is not None]
    names = list(effects[0]) if effects else []
    level, out = 1 - (1 - LEVEL) / max(1, len(names)), list[dict[str, Any]]()
    for name in names:
        values = [e[name] for e in effects]
        least = least_of(result.get("least"), name)
        share = name in result.get("shares", ())
        mean, low, high = (
            _of_share(result, values, level)
            if share
            else (_at_any_time if extended(result) else bounds)(values, level)
        )
        role = (
            "premise"
            if name in result.get("premises", ())
            else "control"
            if name in result.get("control", ())
            else "effect"
        )
        sees = None
        if share and least is not None:
            sees = _seen_share(result, len(values), least, level)
        elif least is not None and len(values) > 1:
            more = detectable(statistics.stdev(values), len(values), level=level)
            sees = least + more * _wider(result, values, level)
        ends = {"mean": mean, "low": low, "high": high, "median": statistics.median(values)}
        out.append({"name": name, "role": role, **ends, "least": least, "sees": sees})
    return out


def verdict(
    result: Mapping[str, Any], found: list[dict[str, Any]]
) -> tuple[str, dict[str, Any] | None]:
    """Decide a claim by its parts; the part that decided stands beside the verdict."""
    premises = [p for p in found if p["role"] == "premise"]
    rest = [p for p in found if p["role"] != "premise"]
    unmet = [p for p in premises if not _above(p)]
    if unmet or _turns(result):
        return UNDECIDED, unmet[0] if unmet else _weakest(rest)
    fails = [p for p in rest if p["high"] is not None and p["high"] < p["least"]]
    if fails:
        return FAILS, min(fails, key=lambda p: p["high"] - p["least"])
    return HOLDS if all(map(_above, rest)) else UNDECIDED, _weakest(rest)


def _above(part: Mapping[str, Any]) -> bool:
    return part["low"] is not None and part["low"] > part["least"]


def _weakest(found: list[dict[str, Any]]) -> dict[str, Any]:
    return min(found, key=lambda p: float("-inf") if p["low"] is None else p["low"] - p["least"])


def _turns(result: Mapping[str, Any]) -> str:
    """That the arm which must over-optimise does not, "" where it does or need not."""
    if not result["turns"]:
        return ""
    fall, low, high = _fall(result)
    if low is not None and low > 0:
        return ""
    return f"the baseline does not visibly turn: it falls by {fall:.3f} [{low:.3f}, {high:.3f}]"


def _fall(result: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """The mean fall of the arm that must turn, with the interval that the result is judged by."""
    return (_at_any_time if extended(result) else bounds)(result["drops"], LEVEL)


def _why(result: Mapping[str, Any], said: str, part: Mapping[str, Any], count: int) -> str:
    """What the interval of the part that decided says."""
    least = f"δ = {part['least']:.3g}"
    if part["role"] == "premise" and said == UNDECIDED:
        why = f"its premise “{part['name']}” is not seen: the interval does not lie above {least}"
    elif turns := _turns(result):
        why = turns
    else:
        where = {HOLDS: "lies above", FAILS: "lies below"}.get(said, "covers")
        why = f"the interval {where} {least}"
        if count > 1 and part["name"]:
            why = f"of its {count} parts “{part['name']}” decides: {why}"
        if result["turns"]:
            fall, low, high = _fall(result)
            why += f"; the baseline falls by {fall:.3f} [{low:.3f}, {high:.3f}]"
    if extended(result):
        numbered = len(result["numbered"])
        why += (
            f"; looked at after {numbered} seeds and extended to {len(result['seeds'])}, so that "
            "the interval is one that is valid at any time"
        )
    return why


def extended(result: Mapping[str, Any]) -> bool:
    """Whether seeds were run that the claim had not numbered."""
    return bool(result.get("numbered")) and len(result["seeds"]) > len(result["numbered"])


def by_part(effect: Effect) -> dict[str, float]:
    """One seed's effect by its parts; a plain number is its own only part."""
    return effect if isinstance(effect, dict) else {"": effect}


def least_of(least: float | Mapping[str, float] | None, part: str) -> float | None:
    """δ of a part: one number is that of every part; a control that a mapping leaves out has 0."""
    if least is None or isinstance(least, int | float):
        return least
    return float(least.get(part, 0.0))


def _wider(result: Mapping[str, Any], values: list[float], level: float) -> float:
    """How much wider than Student's the interval is that a result is judged by."""
    if not extended(result):
        return 1.0
    (_, low, high), (_, a, b) = _at_any_time(values, level), bounds(values, level)
    ends = (low, high, a, b)
    if any(e is None for e in ends) or a == b:
        return 1.0
    return (high - low) / (b - a)  # type: ignore[operator,no-any-return]


def _at_any_time(values: list[float], level: float) -> tuple[float, float | None, float | None]:
    import torch

    from assay.formulas.confidence import student

    low, high = student(torch.tensor(values, dtype=torch.float64), alpha=1 - level)
    return sum(values) / len(values), low, high


def _of_share(
    result: Mapping[str, Any], values: list[float], level: float
) -> tuple[float, float, float]:
    """The mean of zeros and ones with the interval that it is judged by."""
    find = share_at_any_time if extended(result) else exact_share
    hits = round(sum(values))
    return hits / len(values), *find(hits, len(values), level)


def _seen_share(result: Mapping[str, Any], n: int, least: float, level: float) -> float | None:
    """The smallest true share that n seeds place above δ in four of five experiments; None where
    not even n ones lie above it.
    """
    from scipy.special import betaincinv

    find = share_at_any_time if extended(result) else exact_share
    enough = next((k for k in range(n + 1) if find(k, n, level)[0] > least), None)
    return None if enough is None else float(betaincinv(enough, n - enough + 1, 0.8))


def command(result: Mapping[str, Any]) -> str:
    """The command that makes this result again."""
    seeds, world = result["seeds"], dict(result["world"])
    whole = len(seeds) > 1 and seeds == list(range(seeds[0], seeds[-1] + 1))
    said = f"{seeds[0]}..{seeds[-1]}" if whole else ",".join(map(str, seeds))
    given = "" if seeds == result.get("numbered") else f" --seeds {said}"
    more = {**{f"world.{k}": v for k, v in world.items() if k != "name"}, **result.get("flags", {})}
    extra = "".join(
        f" --{k.replace('_', '-')} {v if isinstance(v, str) else json.dumps(v)}"
        for k, v in more.items()
    )
    return f"assay claims --run {result['name']} --world {world['name']}{given}{extra}"
