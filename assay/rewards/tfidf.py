"""Counts to features by scikit-learn's TF-IDF: two blocks of n-grams, and measures of style."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from assay.rewards.features import STYLE, Features


@dataclass(frozen=True)
class Settings:
    """How counts become features.

    Attributes:
        least: Rows that must use an n-gram for it to be kept; 2 where there are under 5000 rows.
        pivot: The power of a row's length that it is divided by: 1 is the cosine's normalisation,
            0 none.
        style: The weight of the standardised measures of style.
        layout: The weight of layout n-grams.
        words: The weight of word n-grams.
    """

    least: int = 5
    pivot: float = 0.7
    style: float = 0.03
    layout: float = 1.0
    words: float = 1.0


class Block:
    """TF-IDF of one block of n-grams: the columns kept, their weights, and the usual length."""

    def __init__(self, columns: NDArray[np.int32], idf: NDArray[np.float32], typical: float):
        from sklearn.feature_extraction.text import TfidfTransformer

        self.columns, self.typical = columns, typical
        self.tfidf = TfidfTransformer(norm=None, sublinear_tf=True)
        self.tfidf.idf_ = idf

    @classmethod
    def fit(cls, counts: sparse.csr_array, least: int) -> Block:
        """Learn from these rows: keep the columns that at least `least` of them use."""
        from sklearn.feature_extraction.text import TfidfTransformer

        used = np.bincount(counts.indices, minlength=counts.shape[1])
        columns = np.nonzero(used >= least)[0].astype(np.int32)
        if not len(columns):  # scikit-learn refuses a matrix without columns
            return cls(columns, np.zeros(0, np.float32), 1.0)
        learned = TfidfTransformer(norm=None, sublinear_tf=True).fit(counts[:, columns])
        block = cls(columns, learned.idf_.astype(np.float32), 1.0)
        lengths = block._lengths(block._weighed(counts))
        some = lengths[lengths > 0]
        block.typical = float(np.median(some)) if len(some) else 1.0
        return block

    @property
    def idf(self) -> NDArray[np.float32]:
        """The inverse document frequency of each column kept: 1 + log((1+R)/(1+df))."""
        return np.asarray(self.tfidf.idf_, np.float32)

    def rows(self, counts: sparse.csr_array, pivot: float) -> sparse.csr_array:
        """Weigh the rows and divide them by length^pivot·typical^(1−pivot).

        A row far shorter than usual counts as a quarter of the usual length.
        """
        weighed = self._weighed(counts)
        length = np.maximum(self._lengths(weighed), 0.25 * self.typical)
        scale = (length**-pivot * self.typical ** (pivot - 1)).astype(np.float32)
        weighed.data *= np.repeat(scale, np.diff(weighed.indptr))
        return weighed

    def _weighed(self, counts: sparse.csr_array) -> sparse.csr_array:
        """Return (1 + log count)·idf of the columns kept."""
        kept = counts[:, self.columns]
        if not len(self.columns) or not kept.shape[0]:
            return kept
        return sparse.csr_array(self.tfidf.transform(kept), dtype=np.float32)

    @staticmethod
    def _lengths(rows: sparse.csr_array) -> NDArray[np.float64]:
        return np.sqrt(np.asarray(rows.astype(np.float64).power(2).sum(1)))


class Weighing:
    """Counts to features, as learned from some rows: two blocks, and the scales of style.

    Attributes:
        words: The block of word n-grams.
        layout: The block of layout n-grams.
        middle: The mean of each style measure.
        spread: The standard deviation of each style measure, 1 where it is constant.
        settings: The weights of the blocks.
    """

    def __init__(
        self, words: Block, layout: Block, middle: Tensor, spread: Tensor, settings: Settings
    ):
        self.words, self.layout, self.settings = words, layout, settings
        self.middle, self.spread = middle, spread

    @classmethod
    def fit(cls, counted: Features, settings: Settings) -> Weighing:
        """Learn from these rows alone. Fewer than 5000 rows keep rarer n-grams."""
        least = settings.least if len(counted) >= 5000 else min(settings.least, 2)
        style = torch.from_numpy(counted.style)
        spread = style.std(0, correction=0) if len(style) else torch.ones(len(STYLE))
        middle = style.mean(0) if len(style) else torch.zeros(len(STYLE))
        spread = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
        words, layout = Block.fit(counted.words, least), Block.fit(counted.layout, least)
        return cls(words, layout, middle, spread, settings)

    def design(self, counted: Features) -> sparse.csr_array:
        """Return feature rows: words, layout, then style within five spreads of its mean."""
        s = self.settings
        z = ((torch.from_numpy(counted.style) - self.middle) / self.spread).clamp(-5, 5)
        parts = [
            s.words * self.words.rows(counted.words, s.pivot),
            s.layout * self.layout.rows(counted.layout, s.pivot),
            sparse.csr_array(s.style * z.numpy()),
        ]
        return sparse.csr_array(sparse.hstack(parts, format="csr"), dtype=np.float32)
