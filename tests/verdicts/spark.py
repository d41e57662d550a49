"""Arms of the claim of spark, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from assay.stats.judgements import KINDS, counts
from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Items teach more than further steps, also to judge, and shuffled items teach nothing."""
    return _arms(seed, mine=(0.8, 0.9), steps=(0.6, 0.7), shuffled=(0.4, 0.6), still=(0.3, 0.7))


def false(seed: int) -> Arms:
    """The policy judges better and better, and further steps teach more."""
    return _arms(seed, mine=(0.6, 0.9), steps=(0.8, 0.7), shuffled=(0.5, 0.6), still=(0.3, 0.7))


def cannot_judge(seed: int) -> Arms:
    """What shows where the paper is right, of a policy that begins as a coin."""
    return _arms(seed, mine=(0.8, 0.9), steps=(0.6, 0.7), shuffled=(0.4, 0.6), still=(0.3, 0.5))


def _arms(seed: int, **ends: tuple[float, float]) -> Arms:
    noise, out = random.Random(seed), Arms()
    for arm, (end, judge) in ends.items():
        out[arm] = run([0.2, 0.3, end + noise.gauss(0, 0.01)])
        for reading in out[arm][
            1:-1
        ]:  # neither the reference nor the best again: no step is theirs
            judged = counts([judge + noise.gauss(0, 0.01) for _ in KINDS], KINDS)
            reading["stats"] = {**reading["stats"], **judged}
    return out
