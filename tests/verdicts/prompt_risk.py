"""An encoder that foretells risk, ranks and routes by it, and one of which the choice among
rewrites is no safer.
"""

from __future__ import annotations

import random
from typing import Any

from assay.rewards.risk_fits import ARMS


def _arms(
    seed: int, *, score: float = 0.5, risk: float = 0.3, tau: float = 0.6, loss: float = 0.4
) -> dict[str, Any]:
    noise = random.Random(seed)

    def near(x: float) -> float:
        return x + noise.gauss(0, 0.003)

    def of(name: str, good: float, bad: float) -> float:
        return near(good if name == "encoder" else bad)

    fits = [{"fit": k, "log_score": of(k, score, 0.65)} for k in ARMS]
    ranks = [{"rank": k, "kendall": of(k, tau, 0.1), "fixed_kendall": 0.1} for k in ARMS]
    routes = [
        {
            "route": k,
            "price": price,
            "withheld": held,
            "loss": of(k, loss, 0.5),
            "best_fixed": 0.5,
            "least_possible": near(0.3),
        }
        for k in ARMS
        for price in (0.0, 0.01)
        for held in (None, 0.5)
    ]
    choices = [
        {
            "choice": k,
            "slip": slip,
            "penalty": 0.0,
            "n": 8,
            "true_risk": near(r + slip),
            "as_asked": 0.5,
        }
        for k, r in (("encoder", risk), ("shuffled", 0.5), ("perfect", 0.25))
        for slip in (0.0, 0.3)  # where rewrites slip the choice harms, and no part is about that
    ]
    spent = [{"kind": "spent", "arm": k, "labels": 100, "generated": 100} for k in ARMS]
    return {"study": [*fits, *ranks, *routes, *choices, *spent]}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """A log score better by 0.15 nats, a τ of 0.6 for 0.1, and losses of 0.3 or 0.4 for 0.5."""
    return _arms(seed)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """All else is as where it is true, and what it chooses of eight rewrites is no safer."""
    return _arms(seed, risk=0.5)
