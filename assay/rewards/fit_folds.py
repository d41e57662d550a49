"""Fit members to parts of a pool: prompts that count differently for each, folds, their scores."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core.rng import Rng
from assay.engine import progress
from assay.errors import InputError
from assay.rewards.fit_config import FitConfig
from assay.rewards.linear_solvers import resampled
from assay.rewards.pool import Pool
from assay.rewards.score_file import columns_of


class NothingFits(InputError):
    """No pair of the rows to fit to is short enough."""


@runtime_checkable
class Fitter(Protocol):
    """A way to fit members to some rows of a pool and to score others.

    Attributes:
        pool: The rows, without those that say nothing.
        notes: What the user should know.
    """

    pool: Pool
    notes: list[str]

    def fit(self, rows: Int[Tensor, "r"], counts: Float[Tensor, "G M"], rng: Rng) -> Any:
        """Fit members to these rows; prompt g counts counts[g, m] times for member m.

        Args:
            rows: The pool's rows to fit to.
            counts: A prompt's weight for each member; G prompts, M members.
            rng: Randomness of the fit.

        Returns:
            What `scores` takes.
        """
        ...

    def scores(self, fitted: Any, rows: Int[Tensor, "r"]) -> Float[Tensor, "M r"]:
        """Score rows of the pool by what `fit` returned."""
        ...


def counts(pool: Pool, rows: Tensor, config: FitConfig, rng: Rng) -> Float[Tensor, "G M"]:
    """Return how often each prompt counts for each member; prompts without rows do not count.

    Args:
        pool: The labels.
        rows: The rows that members are fitted to.
        config: Members, and how they differ.
        rng: The address of the resamples.
    """
    here = torch.unique(pool.group[rows])
    found = torch.zeros(pool.groups, config.members)
    drawn = rng("resample").generator()
    found[here] = resampled(len(here), config.members, config.resample, drawn)
    return found


def cross_validated(
    fitter: Fitter, pool: Pool, folds: int, config: FitConfig, rng: Rng
) -> tuple[Int[Tensor, "R"] | None, Float[Tensor, "M R"]]:
    """Score every row by members that never saw its prompt.

    Args:
        fitter: Fits and scores.
        pool: The labels.
        folds: Parts of the pool; 0 for none.
        config: The settings.
        rng: The address of folds, resamples and fits.

    Returns:
        (each row's fold, or None without folds; every member's score of it, NaN without folds).
    """
    held = torch.full((config.members, len(pool)), math.nan)
    if not folds:
        return None, held
    fold = pool.folds(folds, rng)
    parts = range(folds)
    for k in progress.over(parts, "cross-validating by prompt", "folds"):
        train, test = (fold != k).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
        try:
            fitted = fitter.fit(train, counts(pool, train, config, rng("fold", k)), rng("fold", k))
        except NothingFits as why:  # the other folds say how well the fit does
            fitter.notes.append(f"fold {k + 1} of {folds} was not evaluated: without it, {why}")
            continue
        held[:, test] = fitter.scores(fitted, test).float()
    return fold, held


def out_of_fold_columns(
    pool: Pool, held: Float[Tensor, "M R"], fold: Int[Tensor, "R"], config: FitConfig
) -> dict[int, dict[str, Any]]:
    """Return the new columns of each of the file's rows.

    Args:
        pool: The labels.
        held: Every member's score of every text, out of fold.
        fold: Each text's fold.
        config: The weight of the variance.
    """
    scores = columns_of(pool.prompts, held, lam=config.lam)
    stems = ["proxy"] if pool.pairs is None else ["proxy_chosen", "proxy_rejected"]
    rows: dict[int, dict[str, Any]] = {}
    for i, r in enumerate(pool.row.tolist()):
        own = rows.setdefault(r, {"fold": int(fold[i])})
        own |= {stems[i % len(stems)] + end: v[i] for end, v in scores.items()}
    return rows
