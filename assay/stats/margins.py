"""What score differences between chosen and rejected completions show: length, size, members."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.stats.intervals import student
from assay.stats.proportions import Share, clustered_share

Array = NDArray[np.float64]


def agreement(margin: ArrayLike) -> Array:
    """Return 1 where the chosen completion scores higher, 0 where lower, ½ where both are equal.

    Args:
        margin: Score of the chosen completion minus score of the rejected one.

    Example:
        >>> agreement([0.3, -0.1, 0.0]).tolist()
        [1.0, 0.0, 0.5]
    """
    return (np.sign(np.asarray(margin, dtype=float)) + 1) / 2


@dataclass(frozen=True)
class LengthSplit:
    """How a reward treats long completions.

    Attributes:
        longer: Accuracy where the chosen completion is the longer one; None without such pairs.
        shorter: Accuracy where the chosen completion is the shorter one; None without such pairs.
        equal: Pairs of equal length.
        correlation: Spearman's correlation of score difference and length difference; the same
            whichever completion stands first. None where either never varies.
        scores_longer: Of the pairs of different length, the share in which the longer one scores
            higher.
        labels_longer: The share in which the longer one is the chosen one.
        bias: scores_longer − labels_longer; None where it cannot be told.
        bias_low: Lower end of its 95 % interval.
        bias_high: Upper end of its 95 % interval.
    """

    longer: Share | None
    shorter: Share | None
    equal: int
    correlation: float | None
    scores_longer: float | None
    labels_longer: float | None
    bias: float | None
    bias_low: float | None
    bias_high: float | None

    def __str__(self) -> str:
        if self.scores_longer is None:
            return "All pairs have completions of equal length, so a length bias cannot be told."
        seen = (
            f"the longer completion scores higher in {self.scores_longer:.1%} of the pairs and is "
            f"the chosen one in {self.labels_longer:.1%}"
        )
        if self.bias_low is None or self.bias_high is None:
            return f"A length bias cannot be told from these pairs: {seen}."
        if self.bias_low > 0:
            return f"The reward favours longer completions more than the labels do: {seen}."
        if self.bias_high < 0:
            return f"The reward favours shorter completions more than the labels do: {seen}."
        return f"No clear length bias: {seen}."


def by_length(
    margin: ArrayLike, difference: ArrayLike, cluster: ArrayLike, weight: ArrayLike | None = None
) -> LengthSplit:
    """Split accuracy by which completion is longer.

    The bias is the share of pairs that a reward gets wrong in favour of the longer completion minus
    the share that it gets wrong in favour of the shorter one. Its interval joins those of the two
    accuracies by the square root of summed squares. They take neither how many pairs there are of
    either kind as random, nor a prompt that has pairs of both, so the interval is at least that of
    the mean over pairs, clustered by prompt.

    Args:
        margin: Score of the chosen completion minus score of the rejected one.
        difference: Length of the chosen completion minus length of the rejected one.
        cluster: The prompt of each pair.
        weight: The weight of each pair; 1 by default.

    Returns:
        The split.

    Source: Zou and Donner (2008), Construction of confidence limits about effect measures
        (the interval).

    Example:
        >>> split = by_length([1, 1, 1, -1, -1], [9, 9, 9, -9, -9], range(5))
        >>> split.longer.mean, split.shorter.mean, split.bias
        (1.0, 0.0, 0.4)
    """
    m, d, g = np.asarray(margin, float), np.asarray(difference, float), np.asarray(cluster)
    w = np.ones_like(m) if weight is None else np.asarray(weight, float)
    right, unequal = agreement(m), d != 0
    longer, shorter = (clustered_share(right[here], g[here], w[here]) for here in (d > 0, d < 0))
    equal, both = int((~unequal).sum()), float(w[unequal].sum())
    if not both:
        return LengthSplit(None, None, equal, None, None, None, None, None, None)
    a, b = float(w[d > 0].sum()) / both, float(w[d < 0].sum()) / both
    hit, miss = (0.0 if s is None else s.mean for s in (longer, shorter))
    scores, labels = a * hit + b * (1 - miss), a
    low = high = bias = None
    if longer is not None and shorter is not None:
        bias = b * (1 - shorter.mean) - a * (1 - longer.mean)
        if longer.low is not None and shorter.low is not None:
            tilt = np.where(d > 0, right - 1, 1 - right)[unequal]
            least = _half_width(tilt, g[unequal], w[unequal])
            low = bias - max(least, math.hypot(b * _above(shorter), a * _below(longer)))
            high = bias + max(least, math.hypot(b * _below(shorter), a * _above(longer)))
    together = _rank_correlation(m, d)
    return LengthSplit(longer, shorter, equal, together, scores, labels, bias, low, high)


def _below(share: Share) -> float:
    return 0.0 if share.low is None else share.mean - share.low


def _above(share: Share) -> float:
    return 0.0 if share.high is None else share.high - share.mean


def _half_width(values: Array, cluster: NDArray[Any], weight: Array) -> float:
    """Half the 95 % interval of a weighted mean, clustered; 0 of a single cluster."""
    names, at = np.unique(cluster, return_inverse=True)
    G, total = len(names), float(weight.sum())
    if G == 1:
        return 0.0
    error = np.bincount(at, weight * (values - (weight * values).sum() / total))
    return student(G - 1) * math.sqrt(G / (G - 1) * float((error**2).sum())) / total


def _rank_correlation(m: Array, d: Array) -> float | None:
    """Spearman's correlation over pairs and the same pairs turned round."""
    from scipy.stats import spearmanr

    x, y = np.concatenate([m, -m]), np.concatenate([d, -d])
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(spearmanr(x, y).statistic)


@dataclass(frozen=True)
class MarginBin:
    """The pairs whose score difference has a certain size.

    Attributes:
        low: The smallest |margin| among them.
        high: The largest |margin| among them.
        accuracy: How often the chosen completion scores higher.
    """

    low: float
    high: float
    accuracy: Share


def by_margin(
    margin: ArrayLike, cluster: ArrayLike, weight: ArrayLike | None = None, parts: int = 4
) -> tuple[MarginBin, ...]:
    """Split accuracy by quantiles of |margin|, from the closest pairs to the surest.

    Args:
        margin: Score of the chosen completion minus score of the rejected one.
        cluster: The prompt of each pair.
        weight: The weight of each pair; 1 by default.
        parts: How many parts; equal margins stay in one, so there may be fewer.

    Returns:
        The parts that hold pairs.

    Example:
        >>> [b.accuracy.mean for b in by_margin([-0.1, 0.1, 2, 3], range(4), parts=2)]
        [0.5, 1.0]
    """
    m, g = np.asarray(margin, float), np.asarray(cluster)
    w = np.ones_like(m) if weight is None else np.asarray(weight, float)
    size, right = np.abs(m), agreement(m)
    if not len(m):
        return ()
    rough = np.round(size / (float(size.max()) or 1.0), 6)  # rounding errors make no parts
    edges = np.unique(np.quantile(rough, np.linspace(0, 1, parts + 1)[1:-1]))
    at = np.searchsorted(edges, rough, side="left")
    found = []
    for k in np.unique(at):
        here = at == k
        share = clustered_share(right[here], g[here], w[here])
        assert share is not None
        found.append(MarginBin(float(size[here].min()), float(size[here].max()), share))
    return tuple(found)


@dataclass(frozen=True)
class Disagreement:
    """How far the members of an ensemble differ on the same pairs.

    Attributes:
        split: The share of pairs on which the members do not all prefer the same completion.
        pairwise: The share of pairs on which two members differ, on average over the members.
        spread: The standard deviation of the members' margins, on average over the pairs.
    """

    split: float
    pairwise: float
    spread: float


def disagreement(margins: ArrayLike) -> Disagreement | None:
    """Measure how far members differ.

    Args:
        margins: Each member's margins, `[members, pairs]`.

    Returns:
        The disagreement; None of a single member, or of no pairs.

    Example:
        >>> found = disagreement([[1.0, 1.0], [1.0, -1.0]])
        >>> found.split, found.pairwise, found.spread
        (0.5, 0.5, 0.5)
    """
    m = np.asarray(margins, float)
    members, pairs = m.shape
    if members < 2 or not pairs:
        return None
    signs = np.sign(m)
    split = (signs.max(0) != signs.min(0)).mean()
    alike = np.stack([(signs == s).sum(0) for s in (-1, 0, 1)])
    pairwise = 1 - ((alike * (alike - 1)).sum(0) / (members * (members - 1))).mean()
    return Disagreement(float(split), float(pairwise), float(m.std(0).mean()))
