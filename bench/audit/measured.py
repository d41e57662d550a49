"""What is measured of a run, and how a prediction of it is judged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SMOOTH = 5  # readings of the running mean
FALL = 0.1  # standard deviations of gold under the reference: what is less is no fall
LEAST = 0.1  # √KL: a run that loses from its first step turns here


class Turn(NamedTuple):
    """Where a run's gold turned.

    Attributes:
        d: √KL at the peak; of a run that did not turn, the largest √KL that it reached.
        turned: Whether it turned; if not, the turning point is beyond d (censored).
    """

    d: float
    turned: bool


def turn(d: Array, gold: Array, *, smooth: int = SMOOTH) -> Turn:
    """Measure a run's turning point.

    The peak of gold's running mean over 5 readings (fewer at the ends), if gold falls by 0.1 below
    it later in the run.

    Args:
        d: √KL of the readings, in their order, from the reference on.
        gold: Gold in standard deviations under the reference.
        smooth: Readings of the running mean, an odd number.
    """
    half = smooth // 2
    level = np.array([gold[max(0, i - half) : i + half + 1].mean() for i in range(len(gold))])
    peak = int(level.argmax())
    if level[peak] - level[peak:].min() < FALL:
        return Turn(max(float(d.max()), LEAST), False)
    return Turn(max(float(d[peak]), LEAST), True)


def concordance(predicted: Array, d: Array, turned: NDArray[np.bool_]) -> float:
    """Somers' D of predicted and measured turning points with censoring: 1, 0, −1.

    Of the pairs of runs of which it is known which turned first, the share in the right order
    minus the share in the wrong one; a tied prediction is neither. Without censoring and ties it is
    Kendall's τ. NaN without such a pair.

    Source: Harrell et al. 1982, "Evaluating the yield of medical tests": C = (D + 1)/2.
    """
    known = first(d, turned)
    right = np.sign(predicted[None, :] - predicted[:, None])
    return float(right[known].mean()) if known.any() else float("nan")


def known_pairs(d: Array, turned: NDArray[np.bool_]) -> int:
    """Pairs of runs of which it is known which turned first."""
    return int(first(d, turned).sum())


def first(d: Array, turned: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether run i turned and run j did so later, or had not when it ended `[i, j]`."""
    return turned[:, None] & ((d[:, None] < d) | ((d[:, None] == d) & ~turned))


def covered(low: Array, high: Array, d: Array, turned: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each interval holds what was measured: the turning point, or where the run ended
    before it turned, some point beyond its end.
    """
    return np.where(turned, (low <= d) & (d <= high), high >= d)
