"""Whether the probabilities that score differences stand for come true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Bin:
    """The comparisons whose predicted probability lies in one interval.

    Attributes:
        low: Lower end of the interval.
        high: Upper end of the interval.
        count: Comparisons in it.
        predicted: Their mean predicted probability.
        observed: The share in which the completion that scores higher is the chosen one.
    """

    low: float
    high: float
    count: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Calibration:
    """How well σ(margin) predicts labels.

    Attributes:
        error: Expected calibration error: the mean of |observed − predicted| over the bins,
            weighted by their comparisons.
        brier: Mean squared error of the probability; 0.25 without any knowledge.
        log_loss: Mean −log probability of the label, in nats; 0.693 without any knowledge.
        bins: The bins that hold comparisons, from even (½) to sure (1).
    """

    error: float
    brier: float
    log_loss: float
    bins: tuple[Bin, ...]


def calibration(
    margin: ArrayLike,
    p: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    bins: int = 5,
) -> Calibration:
    """Measure σ(margin) against labels.

    The completion that scores higher is predicted with the confidence σ(|margin|), between ½ and 1.
    So the result does not depend on which completion of a pair stands first.

    Args:
        margin: Score of the chosen completion minus score of the rejected one; at least one.
        p: Probability that the chosen one is truly preferred; 1 by default.
        weight: The weight of each comparison; 1 by default.
        bins: Intervals of equal width between ½ and 1; 5 are the usual 10 between 0 and 1.

    Returns:
        Calibration error, Brier score, log-loss and the bins.

    Source: Guo et al. (2017), On calibration of modern neural networks, arXiv:1706.04599,
        equation 3.

    Example:
        >>> found = calibration([2.0, 2.0, 2.0, -2.0])
        >>> round(found.error, 3), round(found.brier, 3), found.bins[0].observed
        (0.131, 0.205, 0.75)
    """
    from scipy.special import expit

    m = np.asarray(margin, dtype=float)
    label = np.ones_like(m) if p is None else np.asarray(p, dtype=float)
    w = np.ones_like(m) if weight is None else np.asarray(weight, dtype=float)
    w = w / w.sum()
    q, sure = expit(m), expit(np.abs(m))
    came = np.where(m > 0, label, np.where(m < 0, 1 - label, 0.5))
    loss = label * np.logaddexp(0, -m) + (1 - label) * np.logaddexp(0, m)
    edges = np.linspace(0.5, 1.0, bins + 1)
    at = np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, bins - 1)
    found, error = [], 0.0
    for k in np.unique(at):
        here = at == k
        mass = float(w[here].sum())
        if mass == 0:
            continue
        predicted, observed = (float((w * x)[here].sum() / mass) for x in (sure, came))
        error += mass * abs(observed - predicted)
        low, high = float(edges[k]), float(edges[k + 1])
        found.append(Bin(low, high, int(here.sum()), predicted, observed))
    brier = float((w * (label * (1 - q) ** 2 + (1 - label) * q**2)).sum())
    return Calibration(error, brier, float((w * loss).sum()), tuple(found))
