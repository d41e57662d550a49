"""Free signals, made of what readings hold anyway. Hints, no guarantee: each of them fires in
healthy runs and misses sick ones.

A hint compares the last look with the run's own first looks, so that no threshold needs a scale;
what each is worth was measured on our own runs and stands in docs/watch.md. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

LABEL = "hint, no guarantee"
EARLY = 3  # looks that say what is normal


def row(reading: dict[str, Any], drawn: dict[str, float]) -> dict[str, Any]:
    """What the hints need of a reading; None for what was not measured."""
    judges = reading.get("rewards") or []
    stats = reading.get("stats") or {}
    others = [j for j in judges if j != reading.get("proxy")]
    mean = sum(judges) / len(judges) if judges else None
    spread = (
        math.sqrt(sum((j - mean) ** 2 for j in judges) / len(judges))
        if mean is not None and len(judges) > 1
        else None
    )
    return {
        "step": reading["step"],
        "kl": reading.get("kl"),
        "proxy": reading.get("proxy"),
        "spread": spread,
        "held": sum(others) / len(others) if others and len(others) < len(judges) else None,
        "length": stats.get("read/length"),
        "entropy": drawn.get("entropy"),
        "repetition": drawn.get("repetition"),
    }


def hints(seen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The signals that fire at the last look: name, value, what it was before, and the words "hint,
    no guarantee".
    """
    found = [
        _disagreement(seen),
        _acceleration(seen),
        _entropy(seen),
        _drift(seen, "length", "answers' length"),
        _drift(seen, "repetition", "repetition in the answers"),
        _held(seen),
    ]
    return [{**h, "label": LABEL} for h in found if h is not None]


def since(seen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`hints`, each with the step since which it has fired without a break."""
    found = hints(seen)
    for h in found:
        h["since"] = seen[-1]["step"]
        for i in range(len(seen) - 1, 0, -1):
            if h["name"] not in {e["name"] for e in hints(seen[:i])}:
                break
            h["since"] = seen[i - 1]["step"]
    return found


def _series(seen: Sequence[dict[str, Any]], key: str) -> list[float]:
    return [s[key] for s in seen if s[key] is not None]


def _fired(name: str, value: float, before: float, why: str) -> dict[str, Any]:
    return {"name": name, "value": value, "before": before, "why": why}


def _disagreement(seen: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The judges' means have moved apart: more than three times as far as in the first looks."""
    x = _series(seen, "spread")
    if len(x) <= EARLY:
        return None
    before = sum(x[:EARLY]) / EARLY
    return (
        _fired(
            "disagreement", x[-1], before, "the judges differ over three times as much as at first"
        )
        if x[-1] > 3 * before > 0
        else None
    )


def _acceleration(seen: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """KL a step over the last two looks is more than twice that of the two before."""
    x = [(s["step"], s["kl"]) for s in seen if s["kl"] is not None][-5:]
    if len(x) < 5 or x[4][0] == x[2][0] or x[2][0] == x[0][0]:
        return None
    late, early = (
        (x[4][1] - x[2][1]) / (x[4][0] - x[2][0]),
        (x[2][1] - x[0][1]) / (x[2][0] - x[0][0]),
    )
    said = "KL grows over twice as fast as two looks ago"
    return _fired("KL acceleration", late, early, said) if late > 2 * early > 0 else None


def _entropy(seen: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Nats a decision have fallen under half of what they were at the first looks."""
    x = _series(seen, "entropy")
    if len(x) <= EARLY:
        return None
    before = sum(x[:EARLY]) / EARLY
    return (
        _fired(
            "entropy collapse",
            x[-1],
            before,
            "a decision holds less than half the nats that it held at first",
        )
        if x[-1] < 0.5 * before
        else None
    )


def _drift(seen: Sequence[dict[str, Any]], key: str, name: str) -> dict[str, Any] | None:
    x = _series(seen, key)
    if len(x) <= EARLY:
        return None
    before = sum(x[:EARLY]) / EARLY
    far = abs(x[-1] - before) > 0.5 * abs(before) + (0.05 if key == "repetition" else 0.0)
    return (
        _fired(
            f"{key} drift", x[-1], before, f"{name} moved by more than half of what it was at first"
        )
        if far
        else None
    )


def _held(seen: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The proxy has gained since its first look, and the judges that were not optimised have lost
    since their best.
    """
    x = [(s["proxy"], s["held"]) for s in seen if s["proxy"] is not None and s["held"] is not None]
    if len(x) <= EARLY:
        return None
    top = max(h for _, h in x)
    gained, lost = x[-1][0] - x[0][0], top - x[-1][1]
    return (
        _fired(
            "held-out proxy",
            x[-1][1],
            top,
            "the proxy gains while the judges it is not trained on lose",
        )
        if gained > 0 and lost > 0.1 * gained
        else None
    )
