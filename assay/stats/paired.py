"""Paired differences: their mean with its interval, and which of several are sure at once."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from assay.stats.intervals import interval, within


def mean(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean of some values and the half-width of its 95 % Student interval.

    Args:
        values: Independent values.

    Returns:
        `mean` and `half`; both are None where there are no values.
    """
    if not values:
        return {"mean": None, "half": None}
    middle, half = interval(values)
    return {"mean": middle, "half": half}


def difference(gaps: Sequence[float]) -> dict[str, Any]:
    """Return what paired differences show.

    Args:
        gaps: One difference a pair.

    Returns:
        `mean` and `half` of the 95 % Student interval; `seeds`, the number of pairs; `above`, how
        many are above 0; `p`, the two-sided Student p-value, None where there is no spread.
    """
    found: dict[str, Any] = {
        **mean(gaps),
        "seeds": len(gaps),
        "above": sum(g > 0 for g in gaps),
        "p": None,
    }
    spread = statistics.stdev(gaps) if len(gaps) > 1 else 0.0
    if spread > 0:
        t = abs(statistics.fmean(gaps)) * math.sqrt(len(gaps)) / spread
        found["p"] = 1 - within(t, len(gaps) - 1)
    return found


def holm(p: Sequence[float], level: float = 0.05) -> list[bool]:
    """Return which of several hypotheses are rejected, all of them tested at once.

    Args:
        p: Their p-values.
        level: The chance of rejecting any that is true.

    Returns:
        True where rejected, in the order of `p`.

    Source:
        Holm (1979), A simple sequentially rejective multiple test procedure.

    Example:
        >>> holm([0.03, 0.01, 0.2])
        [False, True, False]
    """
    out = [False] * len(p)
    for i, k in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        if p[k] > level / (len(p) - i):
            break
        out[k] = True
    return out
