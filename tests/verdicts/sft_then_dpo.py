"""Lines of sft_then_dpo by hand: small rates leave a nearer and better start, or the same one."""

from __future__ import annotations

from random import Random
from typing import Any

RATES = (0.2, 0.06, 0.02)
Lines = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Lines:
    """DPO from the smallest rate ends higher, and not where its labels are coins."""
    return _arms(seed, gain=0.3, nearer=0.2)


def false(seed: int) -> Lines:
    """At equal loss all rates are the same start."""
    return _arms(seed, gain=0.0, nearer=0.0)


def _arms(seed: int, gain: float, nearer: float) -> Lines:
    noise, out = Random(seed), Lines()
    for arm, more in (("rates", gain), ("coins", 0.0)):
        out[arm] = []
        for i, rate in enumerate(RATES):
            share, shake = i / (len(RATES) - 1), noise.gauss(0, 0.01)
            start = {"loss": 3.2 + shake / 10, "kl": 0.8 - nearer * share + shake}
            out[arm] += [
                {"kind": "start", "rate": rate, **start},
                {"kind": "run", "rate": rate, "gold": 2.0 + more * share + noise.gauss(0, 0.01)},
                {"kind": "spent", "arm": f"rate {rate}", "labels": 400, "updates": 100 + 50 * i},
            ]
    return out
