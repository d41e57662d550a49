"""How far texts are from those that a reward was fitted on, and accuracy by that distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from assay.audits.completions import Floats
from assay.rewards.features import BITS, encodable
from assay.rewards.pool import Pool
from assay.stats.margins import agreement
from assay.stats.proportions import Share, clustered_share

PARTS = 4


class FittedOn:
    """The texts that a reward was fitted on, as hashed words weighed by TF-IDF.

    Args:
        texts: The texts.
        name: What they are, in words.

    Example:
        >>> near = FittedOn(["the cat sat", "a dog ran"], "two texts")
        >>> [round(float(d), 2) for d in near.distance(["the cat sat", "the cat ran", "zebra"])]
        [0.0, 0.33, 1.0]
    """

    def __init__(self, texts: Sequence[str], name: str):
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
        from sklearn.neighbors import NearestNeighbors
        from sklearn.pipeline import make_pipeline

        self.name, self.texts = name, len(texts)
        words = HashingVectorizer(
            token_pattern=r"\w+", n_features=1 << BITS, alternate_sign=False, norm=None
        )
        self._weigh: Any = make_pipeline(words, TfidfTransformer(sublinear_tf=True))
        rows = self._weigh.fit_transform([encodable(t) for t in texts])
        self._near = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(rows)

    def distance(self, texts: Sequence[str]) -> Floats:
        """Return 1 − cosine to the nearest text, from 0 (the same words) to 1 (none in common).

        Args:
            texts: R texts.
        """
        if not len(texts):
            return np.zeros(0)
        near, _ = self._near.kneighbors(self._weigh.transform([encodable(t) for t in texts]))
        return np.clip(np.asarray(near[:, 0], dtype=np.float64), 0.0, 1.0)


def texts_of(pool: Pool) -> list[str]:
    """Return each prompt with its completion as one text."""
    return [f"{p}\n{r}" for p, r in zip(pool.prompts, pool.responses, strict=True)]


@dataclass(frozen=True)
class DistanceBin:
    """The comparisons at a certain distance from what a reward was fitted on.

    Attributes:
        low: The smallest distance among them.
        high: The largest one.
        accuracy: How often the better completion scores higher.
    """

    low: float
    high: float
    accuracy: Share


def by_distance(
    margin: ArrayLike, distance: ArrayLike, cluster: ArrayLike, weight: ArrayLike
) -> tuple[DistanceBin, ...]:
    """Split accuracy by quarters of the distance.

    Args:
        margin: Score of the better completion minus score of the other one.
        distance: The distance of each comparison.
        cluster: Its prompt.
        weight: Its weight.

    Returns:
        The parts that hold comparisons; equal distances stay in one.

    Example:
        >>> found = by_distance([1, 1, -1, -1], [0.1, 0.1, 0.9, 0.9], range(4), [1] * 4)
        >>> [(b.low, b.high, b.accuracy.mean) for b in found]
        [(0.1, 0.1, 1.0), (0.9, 0.9, 0.0)]
    """
    m, d, g, w = (np.asarray(v, float) for v in (margin, distance, cluster, weight))
    edges = np.unique(np.quantile(d, np.linspace(0, 1, PARTS + 1)[1:-1])) if len(d) else d
    at = np.searchsorted(edges, d, side="left")
    found = []
    for k in np.unique(at):
        here = at == k
        share = clustered_share(agreement(m[here]), g[here], w[here])
        assert share is not None
        found.append(DistanceBin(float(d[here].min()), float(d[here].max()), share))
    return tuple(found)
