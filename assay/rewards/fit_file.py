"""`assay fit`: a reward ensemble from a file of pairs or scored responses.

It decides what the fit is evaluated on, fits the members, evaluates them on prompts that they never
saw, and writes their folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay import data
from assay.core.rng import Rng
from assay.data.model_trust import trusting
from assay.engine import progress
from assay.engine.atomic import is_free
from assay.engine.plural import counted
from assay.engine.reserved import reserving
from assay.errors import InputError
from assay.records import runs
from assay.registry.from_config import from_config
from assay.rewards.evaluate import apart, evaluated, scores_of
from assay.rewards.evaluation import Evaluation
from assay.rewards.fit_config import FitConfig
from assay.rewards.fit_folds import Fitter, counts, cross_validated, out_of_fold_columns
from assay.rewards.fit_held_out import Plan, plan, unseen
from assay.rewards.fit_labels import labels
from assay.rewards.fit_preference import fitted_preference
from assay.rewards.fit_words import TextFitter
from assay.rewards.fitted import Fitted, writable
from assay.rewards.loaded_back import rows_of
from assay.rewards.pool import Pool
from assay.rewards.score_file import write_rows


@from_config(FitConfig)
def fit(
    path: str | Path,
    *,
    out: str | Path,
    held_out: str | Path | None = None,
    out_of_fold: str | Path | None = None,
    preference_dim: int = 0,
    config: FitConfig = FitConfig(),
) -> dict[str, Any]:
    """Fit a reward ensemble to a file and write it to a folder.

    Args:
        path: The file of pairs or scored responses.
        out: The folder to write, which must not exist.
        held_out: A file of pairs that evaluates the fit and is never trained on. Its prompts that
            are also in the fitted file are left out of the evaluation.
        out_of_fold: A file to write, in which every row is scored by members that never saw its
            prompt.
        preference_dim: Fit a general preference model, which compares two completions and may be
            cyclic, with embeddings of so many coordinates (two a plane); 0 fits a reward.
        config: How to fit.

    Returns:
        What was fitted and how well, as JSON can hold it.

    Raises:
        InputError: A setting, the file or a row cannot be used, or another process writes `out`.
    """
    further = [] if out_of_fold is None else [Path(out_of_fold)]
    with reserving(Path(out), *further) as mine:
        writable(out)
        if preference_dim:
            if further or held_out is not None:
                raise InputError(
                    "--preference-dim is evaluated by folds of the file, and scores no row; leave "
                    "--held-out and --out-of-fold out"
                )
            found = fitted_preference(str(path), dim=preference_dim, config=config)
        else:
            found = fitted_to(
                path, held_out=held_out, out_of_fold=out_of_fold, config=config, making=mine.making
            )
        close = found.save(out)
    return {
        **found.about,
        "folder": str(out),
        "agreement": {**asdict(close), "says": str(close)},
    }


def fitted_to(
    source: str | Path | data.Source,
    *,
    held_out: str | Path | data.Source | None = None,
    out_of_fold: str | Path | None = None,
    config: FitConfig,
    base: str | None = None,
    making: Callable[[Path, Path], None] = lambda path, fresh: None,
) -> Fitted:
    """Fit a reward ensemble to labels, and keep it in memory.

    Args:
        source: A file of pairs or scored responses, a hub name, or rows in memory.
        held_out: See `fit`.
        out_of_fold: See `fit`.
        config: How to fit.
        base: What the record calls the base; `config.base` by default.
        making: Is told of `out_of_fold` and the whole file before it takes that name.

    Returns:
        The reward and what is known of it.

    Raises:
        InputError: A setting, the file or a row cannot be used.
    """
    config.check()
    _possible(out_of_fold, config)
    with trusting(config.trust_remote_code):
        return _fitted_to(source, held_out, out_of_fold, config, base, making)


def _fitted_to(
    source: str | Path | data.Source,
    held_out: str | Path | data.Source | None,
    out_of_fold: str | Path | None,
    config: FitConfig,
    base: str | None,
    making: Callable[[Path, Path], None],
) -> Fitted:
    with progress.stage("reading labels"):
        found = _labels(source, config, out_of_fold)
    name, rng = found.source.name, Rng(config.seed)
    pool = Pool.of(found, config.templated)
    pool, alone = pool.comparable(name, found.layout.parts.get("score", ""))
    scored, other = out_of_fold is not None, held_out is not None
    how = plan(name, pool, config, rng, scored=scored, other=other)
    notes = list[str]()
    with progress.stage(f"preparing {len(pool):,} texts for {config.base}"):
        fitter = _fitter(pool, config)
    if fitter.pool is not pool:  # without pairs of the same tokens
        how = plan(name, pool := fitter.pool, config, rng, scored=scored, other=other)
    fold, held = cross_validated(fitter, pool, how.folds, config, rng)
    train = how.train()
    with progress.stage(f"fitting {counted(config.members, 'member')}"):
        final = fitter.fit(train, counts(pool, train, config, rng("all")), rng("all"))
    if held_out is not None:
        evaluation, notes = _on_file(final, held_out, pool, config)
    else:
        evaluation = _on_own(fitter, final, pool, how, held)
        why_not = how.why_not
        if evaluation is None and not why_not:
            why_not = (
                "the labels of the prompts that no member saw prefer neither completion; give "
                "pairs with --held-out FILE"
            )
        if why_not:
            notes = [f"the fit was not evaluated: {why_not}"]
    accuracy = None if evaluation is None else evaluation.accuracy
    seen = pool if not bool(how.held.any()) else pool.of_groups(_groups(pool, train))
    about = {
        **_told(found, seen, alone, config),
        "base": base or config.base,
        "accuracy": None if accuracy is None else _interval(accuracy),
        "members_accuracy": None
        if evaluation is None
        else [m.accuracy.mean for m in evaluation.members],
        "evaluation": None if evaluation is None else evaluation.plain(),
        "folds": how.folds,
        "held_out_prompts": pool.groups - seen.groups,
        "notes": [*fitter.notes, *notes],
        "arguments": {
            **config.plain(),
            "base": base or config.base,
            "score": found.layout.parts.get("score"),
        },
        "inputs": {name: runs.digest(path) if (path := found.source.path) else None},
    }
    if out_of_fold is not None:
        assert fold is not None
        file = Path(out_of_fold)
        written = write_rows(
            found.source,
            file,
            out_of_fold_columns(pool, held, fold, config),
            before=lambda fresh: making(file, fresh),
        )
        about["out_of_fold"] = {"file": str(out_of_fold), "rows": written}
    return Fitted(final, about, evaluation, rows_of(pool))


def _interval(share: Any) -> dict[str, Any]:
    """An accuracy as the record has it."""
    return {
        "mean": share.mean,
        "low": share.low,
        "high": share.high,
        "prompts": share.clusters,
        "pairs": share.n,
    }


def _groups(pool: Pool, rows: Int[Tensor, "r"]) -> Tensor:
    """Whether each prompt has rows among these, `[G]`."""
    here = torch.zeros(pool.groups, dtype=torch.bool)
    here[pool.group[rows]] = True
    return here


def _on_own(
    fitter: Fitter, final: Any, pool: Pool, how: Plan, held: Float[Tensor, "M R"]
) -> Evaluation | None:
    """Evaluate on the folds, or on the prompts that were held out."""
    names = final.names
    if how.folds:
        on = f"prompts never seen ({how.folds}-fold cross-validation by prompt)"
        return evaluated(pool, held, names, on)
    rows = how.held.nonzero()[:, 0]
    if not len(rows):
        return None
    here = _groups(pool, rows)
    on = (
        f"prompts never seen (held out before the fit: {int(here.sum()):,} of {pool.groups:,}, "
        f"{int(here.sum()) / pool.groups:.0%})"
    )
    return evaluated(pool.of_groups(here), fitter.scores(final, rows).float(), names, on)


def _on_file(
    final: Any, held_out: str | Path | data.Source, pool: Pool, config: FitConfig
) -> tuple[Evaluation | None, list[str]]:
    """Evaluate on a file of its own; return (the evaluation, notes)."""
    found = labels(
        held_out,
        columns=config.columns,
        label_map=config.label_map,
        split=config.split,
        score=config.score,
    )
    name = found.source.name
    other, notes = unseen(Pool.of(found, config.templated), set(pool.prompts), name)
    other, scores = apart(final, other, scores_of(final, other))
    return evaluated(other, scores, final.names, name), notes


def _possible(out_of_fold: str | Path | None, config: FitConfig) -> None:
    if out_of_fold is not None and not is_free(Path(out_of_fold)):
        raise InputError(
            f"{out_of_fold} exists and is never overwritten; give another file with --out-of-fold"
        )
    if out_of_fold is not None and config.folds == 0:
        raise InputError(
            "--out-of-fold needs --folds of at least 2: every row is scored by members that never "
            "saw its prompt"
        )


def _labels(
    source: str | Path | data.Source, config: FitConfig, out_of_fold: str | Path | None
) -> data.Scan:
    """Check the labels; raise InputError where a reward cannot be fitted to them."""
    found = labels(
        source,
        columns=config.columns,
        label_map=config.label_map,
        split=config.split,
        score=config.score,
        limit=config.limit,
        drop=config.drop,
    )
    taken = sorted(c for c in found.layout.columns if c == "fold" or c.startswith("proxy"))
    if out_of_fold is not None and taken:
        raise InputError(
            f"{found.source.name} already has a column '{taken[0]}', which --out-of-fold writes; "
            "rename it"
        )
    return found


def _fitter(pool: Pool, config: FitConfig) -> Fitter:
    if config.base == "words":
        return TextFitter(pool, config)
    from assay.rewards.fit_models import FrozenFitter, ModelFitter

    return FrozenFitter(pool, config) if config.frozen else ModelFitter(pool, config)


def _told(found: data.Scan, pool: Pool, alone: int, config: FitConfig) -> dict[str, Any]:
    plain = found.plain()
    kept = ("file", "kind", "format", "parts", "label", "rows", "warnings", "faults")
    return {
        **{k: plain[k] for k in kept},
        "used": len(pool) if pool.pairs is None else len(pool.pairs),
        "prompts": pool.groups,
        "prompts_left_out": alone,
        "frozen": config.frozen,
        "members": config.members,
    }
