"""Agreement of two raters, and the error rate that it implies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence


def raw_agreement(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """The share of items on which two raters agree.

    Args:
        pairs: Both ratings of each item.

    Returns:
        A share from 0 to 1; None without items.

    Example:
        >>> raw_agreement([(1, 1), (1, 0), (0, 0), (0, 0)])
        0.75
    """
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa: agreement beyond what the raters' frequencies give by chance.

    κ = (p_o − p_e)/(1 − p_e), with p_o the observed agreement and p_e that of independent raters.

    Args:
        pairs: Both ratings of each item.

    Returns:
        At most 1; None without items, or where chance alone always agrees.

    Source:
        Cohen 1960, "A coefficient of agreement for nominal scales", equation 1.

    Example:
        >>> cohen_kappa([(1, 1), (1, 0), (0, 0), (0, 0)])
        0.5
    """
    observed = raw_agreement(pairs)
    if observed is None:
        return None
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(left[k] * right[k] for k in left) / len(pairs) ** 2
    return None if chance == 1 else (observed - chance) / (1 - chance)


def flip_rate(*, disagree: int, twice: int) -> tuple[float, float]:
    """The error rate f of one label, from items that were labeled twice.

    Two independent labels of one item differ with probability a = 2f(1 − f), so
    f = (1 − √(1 − 2a))/2. a ≥ ½ gives f = .49. Two raters who err alike look better than they are,
    so f is too low then: it sizes bets and corrects win rates, and no guarantee depends on it.

    Args:
        disagree: Items on which the two labels differ.
        twice: Items that were labeled twice.

    Returns:
        f, and a lower limit of it (95 %, Hoeffding).

    Raises:
        ValueError: The counts are not 0 ≤ disagree ≤ twice with twice ≥ 1.

    Example:
        >>> rate, least = flip_rate(disagree=320, twice=1000)
        >>> round(rate, 3), round(least, 3)
        (0.2, 0.169)
    """
    if twice < 1 or not 0 <= disagree <= twice:
        raise ValueError(
            f"{disagree} of {twice} labeled twice disagree; give counts with 0 ≤ disagree ≤ twice "
            "and twice ≥ 1"
        )

    def rate(a: float) -> float:
        return 0.49 if a >= 0.4998 else (1 - math.sqrt(1 - 2 * a)) / 2

    a = disagree / twice
    return rate(a), rate(max(0.0, a - math.sqrt(math.log(20) / (2 * twice))))
