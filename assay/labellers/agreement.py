"""How far labels can be trusted: raw agreement, Cohen's kappa, and the flip rate that the agreement implies."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any


def agreement(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Of labels given twice to the same question (both told of the same answer): how often they agree, Cohen's kappa
    (Cohen 1960: agreement beyond what the two raters' habits would give by chance), and the flip rate.

    The flip rate f supposes that both labels err alike and independently, and is computed over pairs in which neither is
    a tie: they agree with chance (1−f)² + f². None where there is nothing to compute it from; ½ where they agree no more
    than coins. `flip_high`: the same at the lower end of a 95 % Wilson interval of the agreement, so a cautious flip rate.
    """
    n = len(pairs)
    if not n:
        return {"pairs": 0, "agree": None, "kappa": None, "flip": None, "flip_high": None}
    agree = sum(a == b for a, b in pairs) / n
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(left[k] * right[k] for k in left) / n ** 2
    decided = [(a, b) for a, b in pairs if 0.5 not in (a, b)]
    same = sum(a == b for a, b in decided)
    return {"pairs": n, "agree": agree, "kappa": None if chance == 1 else (agree - chance) / (1 - chance),
            "flip": _flip(same / len(decided)) if decided else None,
            "flip_high": _flip(_wilson_low(same, len(decided))) if decided else None}


def _flip(agree: float) -> float:
    return 0.5 * (1 - math.sqrt(max(0.0, 2 * agree - 1)))


def _wilson_low(k: int, n: int, z: float = 1.959964) -> float:
    """The lower end of Wilson's interval (Wilson 1927) of k successes in n."""
    p = k / n
    return (p + z * z / (2 * n) - z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)
