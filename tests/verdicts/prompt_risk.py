"""An encoder that foretells risk, and one that knows what a shuffled one knows."""

from __future__ import annotations

import random
from typing import Any

from assay.recipes.prompt_risk import ARMS


def _arms(seed: int, score: float, risk: float) -> dict[str, list[dict[str, Any]]]:
    noise = random.Random(seed)

    def near(x: float) -> float:
        return x + noise.gauss(0, 0.003)

    fits = [{"fit": k, "log_score": near(score if k == "encoder" else 0.65)} for k in ARMS]
    choices = [
        {"choice": k, "penalty": 0.0, "n": 8, "true_risk": near(r), "as_asked": 0.5}
        for k, r in (("encoder", risk), ("shuffled", 0.5))
    ]
    spent = [{"kind": "spent", "arm": k, "labels": 100, "generated": 100} for k in ARMS]
    return {"study": [*fits, *choices, *spent]}


def true(seed: int) -> dict[str, list[dict[str, Any]]]:
    """A log score better by 0.15 nats, and a risk of 0.3 instead of 0.5."""
    return _arms(seed, 0.5, 0.3)


def false(seed: int) -> dict[str, list[dict[str, Any]]]:
    """What it chooses is no safer."""
    return _arms(seed, 0.65, 0.5)
