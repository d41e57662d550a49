"""`assay fit --preference-dim`: a general preference model on text, beside Bradley–Terry.

Both are fitted to the same prompts on the same features with the same ridge, and evaluated on
prompts that neither saw. What is reported is the difference, because planes that fit noise show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay import data
from assay.core.rng import Rng
from assay.data.model_trust import trusting
from assay.engine import progress
from assay.engine.plural import counted
from assay.errors import InputError
from assay.records import runs
from assay.rewards.fit_config import FitConfig
from assay.rewards.fit_folds import counts
from assay.rewards.fit_labels import labels
from assay.rewards.fit_words import TextFitter
from assay.rewards.fitted import Fitted
from assay.rewards.fitted_preference import FittedPreference
from assay.rewards.loaded_back import rows_of
from assay.rewards.pool import Pool, compared, comparisons
from assay.rewards.preference_beside import Beside, beside
from assay.rewards.preference_optimum import general_preference_optimum

Making = Callable[[Tensor], Any]


@runtime_checkable
class DesignFitter(Protocol):
    """Features of a pool's rows, learned from some of them."""

    pool: Pool
    notes: list[str]

    def design(self, rows: Int[Tensor, "r"]) -> tuple[Any, Making]:
        """Return these rows' features, and what makes a linear reward of weights `[W, K]`."""
        ...

    def scores(self, fitted: Any, rows: Int[Tensor, "r"]) -> Float[Tensor, "K r"]:
        """Return a linear reward's outputs on some rows."""
        ...


def fitted_preference(
    source: str | data.Source, *, dim: int, config: FitConfig = FitConfig()
) -> Fitted:
    """Fit a general preference model to pairs or scored responses, and keep it in memory.

    Args:
        source: A file of pairs or scored responses, a hub name, or rows in memory.
        dim: Coordinates of an embedding, two a plane: even and above 0.
        config: How to fit; `centre` and the settings of whole models play no part.

    Returns:
        The model and what is known of it.

    Raises:
        InputError: A setting, the file or a row cannot be used.
    """
    config.check()
    _possible(dim, config)
    with trusting(config.trust_remote_code):
        found = labels(
            source,
            columns=config.columns,
            label_map=config.label_map,
            split=config.split,
            score=config.score,
            limit=config.limit,
            drop=config.drop,
        )
        pool = Pool.of(found, config.templated)
        pool, alone = pool.comparable(found.source.name, found.layout.parts.get("score", ""))
        fitter, rng = _fitter(pool, config), Rng(config.seed)
        pool = fitter.pool
        folds = min(5 if config.folds is None else config.folds, pool.groups)
        folds = folds if folds > 1 else 0
        beside = cross_evaluated(fitter, dim, folds, config, rng) if folds else None
        every = torch.arange(len(pool))
        with progress.stage(f"fitting {counted(config.members, 'member')}"):
            model = fitted_on(fitter, every, dim, config, rng("all"))
    plain = found.plain()
    why_not = "the model was not evaluated: it takes two prompts and --folds of at least 2"
    about = {
        **{k: plain[k] for k in ("file", "kind", "format", "parts", "label", "rows", "warnings")},
        "used": len(pool) if pool.pairs is None else len(pool.pairs),
        "prompts": pool.groups,
        "prompts_left_out": alone,
        "base": config.base,
        "frozen": config.frozen,
        "members": config.members,
        "preference_dim": dim,
        "folds": folds,
        "evaluation": None if beside is None else {**asdict(beside), "says": beside.says()},
        "notes": [*fitter.notes, *([] if beside else [why_not])],
        "arguments": {**config.plain(), "preference_dim": dim},
        "inputs": {found.source.name: runs.digest(path) if (path := found.source.path) else None},
    }
    return Fitted(model, about, None, rows_of(pool))


def fitted_on(
    fitter: DesignFitter,
    rows: Int[Tensor, "r"],
    dim: int,
    config: FitConfig,
    rng: Rng,
    *,
    plane_ridge: float | None = None,
) -> FittedPreference:
    """Fit members to some rows of a pool; with `dim` 0 Bradley–Terry.

    Args:
        fitter: The pool and its features.
        rows: The rows to fit to.
        dim: Coordinates of an embedding.
        config: Members, ridge, smoothing.
        rng: The address of resamples and first planes.
        plane_ridge: The weight of the embeddings' penalty; by default the score's.
    """
    pool = fitter.pool
    x, make = fitter.design(rows)
    counted_by = counts(pool, rows, config, rng)
    if pool.pairs is not None:
        pairs, p, margin, group = comparisons(pool, rows)
        weight = torch.ones(len(pairs))
    else:
        pairs, p, weight, group = _scored_pairs(pool, rows)
        margin = torch.zeros(len(pairs))
    w = general_preference_optimum(
        x,
        pairs,
        p=p,
        margin=margin,
        ridge=1.0 if config.ridge is None else config.ridge,
        counts=counted_by[group] * weight[:, None],
        dim=dim,
        rng=rng,
        smoothing=config.smoothing,
        plane_ridge=plane_ridge,
    )
    return FittedPreference(make(w.flatten(1)), dim)


def cross_evaluated(
    fitter: DesignFitter, dim: int, folds: int, config: FitConfig, rng: Rng
) -> Beside:
    """Evaluate a general preference model beside Bradley–Terry, by folds of prompts.

    Args:
        fitter: The pool and its features.
        dim: Coordinates of an embedding.
        folds: Parts of the pool, at least 2.
        config: How to fit both.
        rng: The address of folds, resamples and first planes.
    """
    at, p, weight, _ = compared(fitter.pool)
    mine, plain = (held_out_chances(fitter, d, folds, config, rng) for d in (dim, 0))
    group = fitter.pool.group[torch.from_numpy(at[:, 0])].numpy()
    return beside(mine, plain, torch.from_numpy(p), group, weight)


def held_out_chances(
    fitter: DesignFitter,
    dim: int,
    folds: int,
    config: FitConfig,
    rng: Rng,
    *,
    plane_ridge: float | None = None,
) -> Float[Tensor, "n"]:
    """P(better ≻ worse) of each pair that `compared` gives, by members that saw no pair of its
    prompt.

    Args:
        fitter: See `cross_evaluated`.
        dim: Coordinates of an embedding; 0 for Bradley–Terry.
        folds: See `cross_evaluated`.
        config: How to fit.
        rng: See `cross_evaluated`; the same address gives the same folds.
        plane_ridge: See `fitted_on`.
    """
    pool = fitter.pool
    pairs = torch.from_numpy(compared(pool)[0])
    fold = pool.folds(folds, rng)
    chance = torch.full((len(pairs),), math.nan, dtype=torch.float64)
    what = "planes" if dim else "Bradley–Terry"
    for k in progress.over(range(folds), f"cross-validating {what} by prompt", "folds"):
        rows = (fold == k).nonzero()[:, 0]
        train = (fold != k).nonzero()[:, 0]
        here = (fold == k)[pairs[:, 0]].nonzero()[:, 0]
        place = torch.full((len(pool),), -1)
        place[rows] = torch.arange(len(rows))
        model = fitted_on(fitter, train, dim, config, rng("fold", k), plane_ridge=plane_ridge)
        e = model.arranged(fitter.scores(model.embedding, rows))
        first, second = place[pairs[here]].unbind(1)
        chance[here] = 0.5 + model.chances(e[first], e[second])
    return chance


def _scored_pairs(pool: Pool, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All pairs of different score within a prompt, as places within `rows`; a prompt weighs 1."""
    at, p, weight, _ = compared(pool)
    place = torch.full((len(pool),), -1)
    place[rows] = torch.arange(len(rows))
    pairs = place[torch.from_numpy(at)]
    here = (pairs >= 0).all(1)
    group = pool.group[torch.from_numpy(at[:, 0])]
    p_, weight_ = torch.from_numpy(p), torch.from_numpy(weight).float()
    return pairs[here], p_[here], weight_[here], group[here]


def _fitter(pool: Pool, config: FitConfig) -> DesignFitter:
    with progress.stage(f"preparing {len(pool):,} texts for {config.base}"):
        if config.base == "words":
            return TextFitter(pool, config)
        from assay.rewards.fit_models import FrozenFitter

        return FrozenFitter(pool, config)


def _possible(dim: int, config: FitConfig) -> None:
    if dim < 2 or dim % 2:
        raise InputError(
            f"--preference-dim is {dim}; an embedding has two coordinates a plane: give an even "
            "number, 2 for one cycle of tastes, or 0 to fit a reward"
        )
    if config.base != "words" and not config.frozen:
        raise InputError(
            "--preference-dim fits a linear head of several outputs, and --base "
            f"{config.base} alone trains whole models; add --frozen"
        )
    if config.held_out_share:
        raise InputError(
            "--preference-dim is evaluated by folds; give --folds instead of --held-out-share"
        )
