"""A run's readings made from a curve of gold, for the effects of claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SPENT = {"generated": 64, "scored": 64, "compared": 0, "labels": 0, "updates": 1, "seconds": 1.0}


def run(golds: Sequence[float], kls: Sequence[float] = (), **more: Any) -> list[dict[str, Any]]:
    """A run that reads `golds` in turn, its reference first, and its best checkpoint again.

    Args:
        golds: Gold of each reading.
        kls: KL of each, in nats; 0, 1, 2, … if not given.
        more: Other fields of every reading.
    """
    kls = kls or tuple(float(i) for i in range(len(golds)))
    out = []
    for step, (gold, kl) in enumerate(zip(golds, kls, strict=True)):
        out.append(reading(step, gold, kl, "reference" if step == 0 else "", **more))
    top = max(range(len(golds)), key=lambda i: golds[i])
    fresh = {"fresh/gold_reference": golds[0], "fresh/gold_last": golds[-1]}
    out.append(reading(top, golds[top], kls[top], "best", **more))
    out[-1]["stats"] = {**out[-1]["stats"], **fresh}
    return out


def reading(step: int, gold: float, kl: float, tag: str, **more: Any) -> dict[str, Any]:
    """One reading that has spent as many completions as it has steps."""
    spent = {k: v * step for k, v in SPENT.items()}
    return {
        "step": step,
        "tag": tag,
        "kl": kl,
        "kl_err": 0.0,
        "kl_kind": "exact",
        "gold": gold,
        "gold_err": 0.0,
        "golds": [gold],
        "rewards": [0.0],
        "rewards_err": [0.0],
        "proxy": 0.0,
        "proxy_err": 0.0,
        "n": 64,
        "cost": None,
        "stats": {},
        "watch": None,
        **spent,
        **more,
    }
