"""How many of a judge's verdicts are right, whatever verdict is the right one how often.

A kind of item is its right verdict and the wrong one: 1 and 0 of a completion, 1 and 2 of two. Few
items lack kinds, and a judge that always says the same gains or loses by that. So counts are kept
by kind, pooled over steps, and averaged over kinds last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

KINDS = (("1", "0"), ("0", "1"), ("1", "2"), ("2", "1"))
NAMES = {kind: "{}_not_{}".format(*kind) for kind in KINDS}


def counts(chance: Sequence[float], kinds: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Count the items of each kind, and those that were judged rightly.

    Args:
        chance: The share of each item's judgements that is right.
        kinds: The right verdict of each item, and the wrong one.

    Returns:
        "judge/items/…" and "judge/right/…" of every kind, 0 where there is no item of it: a mean
        over steps is then that of the counts.

    Example:
        >>> counts([1.0, 0.5], [("1", "0"), ("1", "0")])["judge/right/1_not_0"]
        1.5
    """
    out = {f"judge/{what}/{name}": 0.0 for what in ("items", "right") for name in NAMES.values()}
    for c, kind in zip(chance, kinds, strict=True):
        out[f"judge/items/{NAMES[kind]}"] += 1.0
        out[f"judge/right/{NAMES[kind]}"] += c
    return out


def balanced(counted: Mapping[str, float]) -> float | None:
    """Mean accuracy over the kinds of item whose opposite is there, too.

    A judge that says the same of both of two opposite kinds is worth a half, whatever it says of
    them and however many items either has.

    Args:
        counted: What `counts` returns, or a sum or mean of such; other entries are left alone.

    Returns:
        A share from 0 to 1; None where no kind is there with its opposite.

    Example:
        >>> balanced(counts([1.0, 1.0, 0.0], [("1", "0"), ("1", "0"), ("0", "1")]))
        0.5
    """
    there = [kind for kind in KINDS if counted[f"judge/items/{NAMES[kind]}"] > 0]
    names = [NAMES[yes, no] for yes, no in there if (no, yes) in there]
    worth = [counted[f"judge/right/{name}"] / counted[f"judge/items/{name}"] for name in names]
    return sum(worth) / len(worth) if worth else None


def pooled(readings: Sequence[Mapping[str, Any]], *, last: int) -> dict[str, float]:
    """Sum the counts of the last readings of a run.

    Args:
        readings: A run's readings, whose `stats` are means over the steps since the one before.
        last: How many of those that have counts.
    """
    total, before = counts([], []), 0
    seen = []
    for r in readings:
        if "judge/items/1_not_0" in r["stats"]:
            seen.append((r["step"] - before, r["stats"]))
            before = r["step"]
    for steps, stats in seen[-last:]:
        for name in total:
            total[name] += steps * stats[name]
    return total
