"""Lines of `pretrain_ensemble` whose gold and lengths are said, the same at every n above 1, and
of policies on lines over √KL.
"""

from __future__ import annotations

import random
from typing import Any

SPENT = {"single": 350, "finetune": 550, "pretrain": 1050, "unpretrained": 300}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Pretraining seeds help most, no pretraining least, and length rises past what gold wants."""
    gold = {"single": 2.0, "finetune": 3.0, "pretrain": 4.0, "unpretrained": 1.0, "gold": 6.0}
    return {"fair": lines(seed, gold, length=21.0), "liked": lines(seed, gold, length=25.0)}


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """All else is as the paper says, but completions are as long where no labeler likes length."""
    made = true(seed)
    return {**made, "liked": made["fair"]}


def lines(seed: int, gold: dict[str, float], *, length: float) -> list[dict[str, Any]]:
    """The study's lines for these numbers, each shaken a little."""
    noise, out = random.Random(seed), list[dict[str, Any]]()
    for n in (1, 2, 4):
        for kind, value in gold.items():
            long = 20.0 if kind == "gold" or n == 1 else length
            out.append(
                {
                    "kind": "best_of_n",
                    "ensemble": kind,
                    "aggregate": "mean",
                    "n": n,
                    "gold": value + noise.gauss(0, 0.01),
                    "count": long + noise.gauss(0, 0.01),
                }
            )
    for kind in SPENT:
        for step in range(5):
            d = step / 2  # √KL
            out.append(
                {
                    "kind": "rl",
                    "ensemble": kind,
                    "step": step,
                    "kl": d * d,
                    "gold": gold[kind] * d + noise.gauss(0, 0.01) * (step > 0),
                    "count": 20.0 + (length - 20.0) * d + noise.gauss(0, 0.01) * (step > 0),
                }
            )
    for kind, updates in SPENT.items():
        out.append({"kind": "spent", "arm": kind, "labels": 4000, "updates": updates})
    return out
