"""How far labels can be trusted: raw agreement, Cohen's kappa, and the flip rate that the agreement
implies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from assay.formulas.sequential import flip_rate


def agreement(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Of labels given twice to the same question (both told of the same answer): how often they
    agree, Cohen's kappa (Cohen 1960: agreement beyond what the two raters' habits would give by
    chance), and the flip rate.

    The flip rate and its lower limit (`flip_rate`) are of the pairs in which neither label is a
    tie, and suppose that both err alike and independently. None where there is nothing to compute
    from, or where chance alone would always agree.
    """
    n = len(pairs)
    if not n:
        return {"pairs": 0, "agree": None, "kappa": None, "flip": None, "flip_least": None}
    agree = sum(a == b for a, b in pairs) / n
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(left[k] * right[k] for k in left) / n**2
    decided = [(a, b) for a, b in pairs if 0.5 not in (a, b)]
    flip, least = (
        flip_rate(disagree=sum(a != b for a, b in decided), twice=len(decided))
        if decided
        else (None, None)
    )
    return {
        "pairs": n,
        "agree": agree,
        "kappa": None if chance == 1 else (agree - chance) / (1 - chance),
        "flip": flip,
        "flip_least": least,
    }
