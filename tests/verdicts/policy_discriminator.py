"""Arms of the claim of policy_discriminator, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]
ENDS = {"labels": 1.0, "demonstrations": 1.2, "shuffled": 0.8}


def true(seed: int) -> Arms:
    """The pretrained reward's policy ends highest, and it tells all policies apart."""
    return _arms(seed, mine=2.0, accuracy=0.8)


def false(seed: int) -> Arms:
    """It ends below the rivals' and tells policies apart no better than counting does."""
    return _arms(seed, mine=0.5, accuracy=0.6)


def _arms(seed: int, *, mine: float, accuracy: float) -> Arms:
    noise, out = random.Random(seed), Arms()
    for arm, end in {"mine": mine, **ENDS}.items():
        known = {
            "discriminator/accuracy": accuracy + noise.gauss(0, 0.01),
            "discriminator/better": 0.5,
            "discriminator/overlap": 0.7,
            "discriminator/perplexity": 0.5,
            "discriminator/oracle": 0.95,
        }
        out[arm] = run([0.0, 0.5, end + noise.gauss(0, 0.05)])
        for reading in out[arm]:
            reading["stats"] = {**reading["stats"], **known}
    return out
