"""What the arms of a claim spent, and whether that was the same.

A recipe's readings count it. A study, which compares inside itself, yields a line `{"kind":
"spent", "arm": …}` for each thing it compares. `pairs` are the preference pairs of an arm's world,
which its reward models or its policy are fitted to. Counts may differ by 5 %. Seconds are noisy:
they differ where the interval of the seeds' ratio lies beyond 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from assay.errors import InputError
from assay.stats.intervals import bounds

COUNTS = ("generated", "scored", "compared", "labels", "pairs", "updates")
SPENT = (*COUNTS, "seconds")
MOST = 1.05  # how many times as much the arm that spends most may spend
Spent = dict[str, dict[str, list[float]]]  # arm → what → one number a seed


def spent(name: str, lines: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What one arm spent on one seed.

    Args:
        name: The arm's name.
        lines: A recipe's readings, or a study's lines.

    Returns:
        {arm: {what: how much}}; a study has one entry for each line of kind "spent", under the
        arm's own name where the line names none.
    """
    own = [x for x in lines if x.get("kind") == "spent"]
    if own:
        return {x["arm"] or name: {k: float(x.get(k) or 0) for k in SPENT} for x in own}
    if not lines or "generated" not in lines[-1]:
        return {}
    last = [x for x in lines if x["tag"] != "best"][-1]
    return {name: {k: float(last.get(k) or 0) for k in SPENT}}


def add(total: Spent, found: Mapping[str, Mapping[str, float]]) -> None:
    """Add one seed's spending."""
    for arm, counts in found.items():
        total.setdefault(arm, {})
        for what, amount in counts.items():
            total.setdefault(arm, {}).setdefault(what, []).append(amount)


def unequal(total: Mapping[str, Mapping[str, list[float]]], named: Mapping[str, str]) -> str:
    """That arms spent unequally what the claim does not name, "" where they did not.

    Args:
        total: What each arm spent, by seed.
        named: What may differ, and why.
    """
    if not total:
        return "what its arms spent is not said: its study yields no line of kind spent"
    silent = [arm for arm, counts in total.items() if not counts]
    if silent or len(total) < 2:
        return f"what {(silent or ['its rival'])[0]} spent is not said"
    found = [d for what in SPENT if what not in named and (d := _unequal(total, what))]
    return "" if not found else f"its arms are not given the same: {'; '.join(found)}"


def _unequal(total: Mapping[str, Mapping[str, list[float]]], what: str) -> str:
    arms = {arm: counts[what] for arm, counts in total.items() if counts.get(what)}
    means = {arm: sum(v) / len(v) for arm, v in arms.items()}
    if len(means) < 2:
        return ""
    most, least = max(means, key=lambda a: means[a]), min(means, key=lambda a: means[a])
    if means[most] <= MOST * means[least]:
        return ""
    if what == "seconds" and min(arms[least]) > 0 and len(arms[most]) == len(arms[least]) > 1:
        ratios = [math.log(a / b) for a, b in zip(arms[most], arms[least], strict=True)]
        low = bounds(ratios)[1]
        if low is None or low <= math.log(MOST):
            return ""
    return f"{most} spends {means[most]:,.6g} {what} and {least} {means[least]:,.6g}"


def check_named(named: Iterable[str]) -> None:
    """Raise InputError where a claim names something that is not counted."""
    odd = [k for k in named if k not in SPENT]
    if odd:
        raise InputError(f"a claim's differs names '{odd[0]}'; it is one of {', '.join(SPENT)}")
