"""Rewards on words, layout and style, fitted to a pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from assay.core.rng import Rng
from assay.rewards.features import features
from assay.rewards.fit_config import FitConfig
from assay.rewards.linear_text import LinearTextReward, fit_pairs, fit_scored
from assay.rewards.pool import Pool, comparisons
from assay.rewards.tfidf import Settings, Weighing


class TextFitter:
    """Linear members on counted words, layout and style; texts are counted once; a `Fitter`."""

    def __init__(self, pool: Pool, config: FitConfig):
        self.pool, self.config = pool, config
        self.notes: list[str] = []
        self.counted = features(pool.prompts, pool.responses)

    def fit(
        self, rows: Int[Tensor, "r"], counts: Float[Tensor, "G M"], rng: Rng
    ) -> LinearTextReward:
        """See `Fitter`."""
        some, pool, c = self.counted.rows(rows.numpy()), self.pool, self.config
        ridge = 1.0 if c.ridge is None else c.ridge
        if pool.score is not None:
            score = pool.score[rows].float()
            return fit_scored(some, score, pool.group[rows], counts=counts, ridge=ridge)
        pairs, p, margin, group = comparisons(pool, rows)
        return fit_pairs(
            some,
            pairs,
            p,
            margin,
            counts=counts[group],
            ridge=ridge,
            smoothing=c.smoothing,
            centre=c.centre,
        )

    def design(self, rows: Int[Tensor, "r"]) -> tuple[Any, Callable[[Tensor], LinearTextReward]]:
        """Learn features from these rows alone.

        Args:
            rows: The pool's rows.

        Returns:
            (their features `[r, W]`, what makes a linear reward of weights `[W, K]`).
        """
        some = self.counted.rows(rows.numpy())
        weighing = Weighing.fit(some, Settings())

        def made(weight: Tensor) -> LinearTextReward:
            return LinearTextReward(weighing, weight, weight.new_zeros(weight.shape[1]))

        return weighing.design(some), made

    def scores(self, fitted: LinearTextReward, rows: Int[Tensor, "r"]) -> Float[Tensor, "M r"]:
        """See `Fitter`."""
        return fitted.counted(self.counted.rows(rows.numpy()))
