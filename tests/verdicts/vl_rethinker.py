"""Arms of the claim of vl_rethinker, for worlds in which its paper is right and wrong."""

from __future__ import annotations

import random
from typing import Any

from verdicts.curves import run

Arms = dict[str, list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """Informative completions teach more, and so do second thoughts that were right."""
    return _arms(seed, ssr=0.88, grpo=0.8, random=0.82, full=0.95, any=0.85)


def false(seed: int) -> Arms:
    """A larger step does all that replay does, and second thoughts nothing."""
    return _arms(seed, ssr=0.8, grpo=0.8, random=0.82, full=0.8, any=0.82)


def _arms(seed: int, **ends: float) -> Arms:
    noise = random.Random(seed)
    return {arm: run([0.7, 0.75, end + noise.gauss(0, 0.01)]) for arm, end in ends.items()}
