"""Lines of direct_alignment_sizes by hand: small policies fall sooner by Gao's law, or do not."""

from __future__ import annotations

import math
from itertools import product
from random import Random
from typing import Any

from assay.core.paper import Arms
from assay.recipes.direct_alignment_sizes import LOSSES, laws

WIDTHS, BETAS = (24, 40, 64), (0.02, 0.1)
Found = dict[tuple[str, float], list[dict[str, Any]]]


def true(seed: int) -> Arms:
    """β of the law falls with the size on few pairs, and many pairs are over-optimised by none."""
    return _arms(seed, {24: 2.4, 40: 2.0, 64: 1.6})


def false(seed: int) -> Arms:
    """Every size follows the same law."""
    return _arms(seed, dict.fromkeys(WIDTHS, 2.0))


def not_fitted(seed: int) -> Arms:
    """As where the paper is right, but policies order the pairs no better than by a coin."""
    return _arms(seed, {24: 2.4, 40: 2.0, 64: 1.6}, ordered=0.5)


def _arms(seed: int, law: dict[int, float], *, ordered: float = 0.95) -> Arms:
    noise, lines = Random(seed), list[dict[str, Any]]()
    for width, which in product(WIDTHS, ("few", "many")):
        found: Found = {}
        few = which == "few"
        for loss, beta in product(LOSSES, BETAS) if few else [("dpo", BETAS[0])]:
            places = [i * (4.0 if beta == BETAS[0] else 3.0) / 8 for i in range(9)]
            slope = law[width] if few else 0.2
            found[loss, beta] = [
                {"step": i, "tag": "", "kl": d * d, "gold": width / 40 + _gold(d, slope, noise)}
                for i, d in enumerate(places)
            ]
            run = {"kind": "run", "width": width, "loss": loss, "beta": beta, "pairs": which}
            lines.append({**run, "ordered": ordered, "readings": found[loss, beta]})
        if few:
            lines += laws(width, LOSSES, found)
        spent = {"kind": "spent", "arm": f"width {width}, {which} pairs", "updates": 60}
        lines.append({**spent, "labels": 200 if few else 2000})
    return {"sizes": lines}


def _gold(d: float, slope: float, noise: Random) -> float:
    return d * (1.0 - slope * math.log(d)) + noise.gauss(0, 0.03) if d else 0.0
