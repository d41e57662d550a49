"""Curves for which the product scales with the batch, and for which it only starts higher."""

from __future__ import annotations

import random

from verdicts.curves import run

Arms = dict[str, list[dict[str, object]]]


def _arms(seed: int, product: list[float], weighted: list[float]) -> Arms:
    noise = random.Random(seed)
    ends = {
        f"{name} {size}": end
        for name, values in (("product", product), ("sum", weighted))
        for size, end in zip((64, 512, 4096), values, strict=True)
    }
    ends["permuted 512"] = 0.2
    return {arm: run([0.1, 0.2, end + noise.gauss(0, 0.003)]) for arm, end in ends.items()}


def true(seed: int) -> Arms:
    """The product closes more of its distance to a perfect drive, and ends higher."""
    return _arms(seed, [0.5, 0.7, 0.9], [0.5, 0.5, 0.5])


def false(seed: int) -> Arms:
    """The product is better at every size, and the sum gains more."""
    return _arms(seed, [0.7, 0.72, 0.74], [0.4, 0.6, 0.7])
