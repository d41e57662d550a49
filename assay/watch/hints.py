"""Hints: signals from what readings hold anyway, without a guarantee.

Each hint fires in some healthy runs and misses some sick ones; docs/watch.md says how often on
measured runs. A hint compares the last look with the run's own first looks, so that no threshold
depends on a scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.stats.trends import against_start, slopes, spread

LABEL = "hint, no guarantee"
FIRST = 3  # looks that say what is normal
Row = dict[str, Any]


def row(reading: Mapping[str, Any], sampled: Mapping[str, float]) -> Row:
    """What hints need of a look.

    Args:
        reading: The look's reading.
        sampled: What its completions say for free, see `ComparisonSource.stats`.

    Returns:
        Numbers by name; None for what was not measured.
    """
    rewards = reading.get("rewards") or []
    stats = reading.get("stats") or {}
    others = [r for r in rewards if r != reading.get("proxy")]
    return {
        "step": reading["step"],
        "kl": reading.get("kl"),
        "proxy": reading.get("proxy"),
        "spread": spread(rewards),
        "held": sum(others) / len(others) if others and len(others) < len(rewards) else None,
        "length": stats.get("read/length"),
        "entropy": sampled.get("entropy"),
        "repetition": sampled.get("repetition"),
    }


def hints(seen: Sequence[Row]) -> list[Row]:
    """The hints that fire at the last look.

    Args:
        seen: One `row` for each look.

    Returns:
        For each hint: name, value, before (what it was at first), why, and the label "hint, no
        guarantee".
    """
    found = [
        _disagreement(seen),
        _acceleration(seen),
        _entropy(seen),
        _drift(seen, "length", "completions' length"),
        _drift(seen, "repetition", "repetition in the completions"),
        _held_out(seen),
    ]
    return [{**h, "label": LABEL} for h in found if h is not None]


def since(seen: Sequence[Row]) -> list[Row]:
    """`hints`, each with `since`: the step from which it has fired at every look."""
    found = hints(seen)
    for h in found:
        h["since"] = seen[-1]["step"]
        for i in range(len(seen) - 1, 0, -1):
            if h["name"] not in {e["name"] for e in hints(seen[:i])}:
                break
            h["since"] = seen[i - 1]["step"]
    return found


def _series(seen: Sequence[Row], key: str) -> list[float]:
    return [s[key] for s in seen if s[key] is not None]


def _fired(name: str, value: float, before: float, why: str) -> Row:
    return {"name": name, "value": value, "before": before, "why": why}


def _disagreement(seen: Sequence[Row]) -> Row | None:
    """The reward models' means are more than three times as far apart as at first."""
    change = against_start(_series(seen, "spread"), FIRST)
    if change is None or not change[0] > 3 * change[1] > 0:
        return None
    why = "the reward models differ over three times as much as at first"
    return _fired("disagreement", *change, why)


def _acceleration(seen: Sequence[Row]) -> Row | None:
    """KL per step over the last two looks is more than twice that of the two before."""
    found = slopes([(s["step"], s["kl"]) for s in seen if s["kl"] is not None])
    if found is None or not found[0] > 2 * found[1] > 0:
        return None
    return _fired("KL acceleration", *found, "KL grows over twice as fast as two looks ago")


def _entropy(seen: Sequence[Row]) -> Row | None:
    """The entropy of a decision is less than half of what it was at first."""
    change = against_start(_series(seen, "entropy"), FIRST)
    if change is None or not change[0] < 0.5 * change[1]:
        return None
    why = "a decision holds less than half the nats that it held at first"
    return _fired("entropy collapse", *change, why)


def _drift(seen: Sequence[Row], key: str, name: str) -> Row | None:
    """A number has moved by more than half of what it was at first."""
    change = against_start(_series(seen, key), FIRST)
    if change is None:
        return None
    now, before = change
    slack = 0.05 if key == "repetition" else 0.0
    if not abs(now - before) > 0.5 * abs(before) + slack:
        return None
    why = f"{name} moved by more than half of what it was at first"
    return _fired(f"{key} drift", now, before, why)


def _held_out(seen: Sequence[Row]) -> Row | None:
    """The proxy has gained since the first look, and the other reward models have lost since their
    best.
    """
    x = [(s["proxy"], s["held"]) for s in seen if s["proxy"] is not None and s["held"] is not None]
    if len(x) <= FIRST:
        return None
    top = max(held for _, held in x)
    gained, lost = x[-1][0] - x[0][0], top - x[-1][1]
    if not (gained > 0 and lost > 0.1 * gained):
        return None
    why = "the proxy gains while the reward models it is not trained on lose"
    return _fired("held-out proxy", x[-1][1], top, why)
