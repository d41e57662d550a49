"""Readings by hand: values that pay at equal KL, or no more than their rivals."""

from __future__ import annotations

from random import Random
from typing import Any

from verdicts.curves import run

Lines = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Lines:
    """More reward and more gold at equal KL."""
    return _arms(seed, 1.5, 1.2)


def false(seed: int) -> Lines:
    """Less gold than best-of-16."""
    return _arms(seed, 1.5, 0.4)


def _arms(seed: int, proxy: float, gold: float) -> Lines:
    noise = Random(seed)

    def rows(proxies: float, golds: float, tag: str = "") -> Any:
        kls = (1.0, 4.0)
        out = run([0.0] * (1 + len(kls)))
        for r, kl in zip(out, (0.0, *kls), strict=False):
            root = kl**0.5
            r |= {"kl": kl, "proxy": proxies * root + noise.gauss(0, 0.01)}
            r |= {"gold": golds * root + noise.gauss(0, 0.01)}
            if tag and kl:
                r |= {"tag": f"{tag}{root:g}", "step": 40}
        return out

    best = rows(1.3, 0.8)
    best[1] |= {"tag": "n=16", "proxy": 1.3 * 1.35, "gold": 0.8 * 1.35 + noise.gauss(0, 0.01)}
    return {
        "mine": rows(proxy, gold, "strength="),
        "best": best,
        "shuffled": rows(0.0, 0.0, "strength="),
    }
