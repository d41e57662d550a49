"""Runs that end where their divergence says and beat what is stopped, and runs that do not."""

from __future__ import annotations

import random
from typing import Any

from assay.recipes.bayesian_inference import BETA
from verdicts.curves import reading

Arms = dict[str, list[dict[str, Any]]]


def _run(nats: float, seed: int, reverse: float, forward: float) -> list[dict[str, Any]]:
    noise = random.Random(seed).gauss(0, 0.01)
    stats = {"target/reverse": reverse + noise, "target/forward": forward + noise}
    values = (0.0, nats, nats - 0.5, nats - 1.0)
    steps = [
        reading(i, 0.0, i, "", stats=stats if i else {}, proxy=BETA * (v + i + noise))
        for i, v in enumerate(values)
    ]
    return [*steps[1:], reading(3, 0.0, 3.0, "best")]


def _arms(seed: int, stopped: float) -> Arms:
    return {
        "reverse": _run(5.0, seed, 0.6, 1.2),
        "forward": _run(4.8, seed, 1.0, 0.7),
        "none": _run(stopped, seed, 0.0, 0.0),
        "shuffled": _run(4.0, seed, 0.0, 0.0),
    }


def true(seed: int) -> Arms:
    """Each divergence is less where it is descended, and the penalised run comes nearest."""
    return _arms(seed, 4.5)


def false(seed: int) -> Arms:
    """A run without a penalty, stopped in time, is as near to the target."""
    return _arms(seed, 5.0)
