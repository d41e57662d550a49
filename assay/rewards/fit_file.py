"""`assay fit`: a reward ensemble from a file of pairs or scored responses.

It cross-validates by prompt, fits the members to all prompts, and writes their folder.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay import data
from assay.core.rng import Rng
from assay.engine import progress
from assay.engine.atomic import write_bytes
from assay.errors import InputError
from assay.records import runs
from assay.registry.from_config import from_config
from assay.rewards.features import features
from assay.rewards.fit_config import FitConfig
from assay.rewards.linear_solvers import resampled
from assay.rewards.linear_text import LinearTextReward, fit_pairs, fit_scored
from assay.rewards.pool import Pool, accuracy, comparisons
from assay.rewards.score_file import columns_of, write_rows


@runtime_checkable
class Fitter(Protocol):
    """A way to fit members to some rows of a pool and to score others; `notes` are for the user."""

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


class TextFitter:
    """Linear members on counted words, layout and style; texts are counted once."""

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

    def scores(self, fitted: LinearTextReward, rows: Int[Tensor, "r"]) -> Float[Tensor, "M r"]:
        """See `Fitter`."""
        return fitted.counted(self.counted.rows(rows.numpy()))


@from_config(FitConfig)
def fit(
    path: str | Path,
    *,
    out: str | Path,
    out_of_fold: str | Path | None = None,
    config: FitConfig = FitConfig(),
) -> dict[str, Any]:
    """Fit a reward ensemble to a file and write it to a folder.

    Args:
        path: The file of pairs or scored responses.
        out: The folder to write, which must not exist.
        out_of_fold: A file to write, in which every row is scored by members that never saw its
            prompt.
        config: How to fit.

    Returns:
        What was fitted and how well, as JSON can hold it.

    Raises:
        InputError: A setting, the file or a row cannot be used.
    """
    out = Path(out)
    _writable(out, out_of_fold, config)
    config.check()
    with progress.stage(f"reading {path}"):
        found = _read(path, config, out_of_fold)
    pool, alone = Pool.of(found).comparable(str(path), found.layout.parts.get("score", ""))
    folds = _folds(path, pool, config, out_of_fold)
    rng, members = Rng(config.seed), config.members
    with progress.stage(f"preparing {len(pool):,} texts for {config.base}"):
        fitter = _fitter(pool, config)
    held, fold = torch.full((members, len(pool)), math.nan), None
    if folds:
        fold = pool.folds(folds, rng)
        parts = range(folds)
        for k in progress.over(parts, "cross-validating by prompt", "folds"):
            train, test = (fold != k).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
            counts = _counts(pool, train, config, rng("fold", k))
            fitted = fitter.fit(train, counts, rng("fold", k))
            held[:, test] = fitter.scores(fitted, test).float()
    every = torch.arange(len(pool))
    with progress.stage(f"fitting {members} members to all prompts"):
        final = fitter.fit(every, _counts(pool, every, config, rng("all")), rng("all"))
    result = {
        **_told(found, pool, alone, config),
        "accuracy": accuracy(pool, held.mean(0), rng) if folds else None,
        "members_accuracy": [accuracy(pool, h, rng)["mean"] for h in held] if folds else None,
        "folds": folds,
        "notes": fitter.notes,
        "arguments": {**config.plain(), "score": found.layout.parts.get("score")},
    }
    final.save(out)
    digest = runs.digest(path) if Path(path).exists() else None
    about = {**result, **runs.provenance(), "inputs": {str(path): digest}}
    said = json.dumps(runs.plain(about), indent=1, ensure_ascii=False) + "\n"
    write_bytes(out / "fit.json", said.encode())
    if out_of_fold is not None:
        assert fold is not None
        rows = _out_of_fold(pool, held, fold, config)
        written = write_rows(found.source, out_of_fold, rows)
        result["out_of_fold"] = {"file": str(out_of_fold), "rows": written}
    return {**result, "folder": str(out)}


def _writable(out: Path, out_of_fold: str | Path | None, config: FitConfig) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} exists and is not an empty folder, and a fitted reward is never overwritten; "
            "give another folder with -o"
        )
    if out_of_fold is not None and Path(out_of_fold).exists():
        raise InputError(
            f"{out_of_fold} exists and is never overwritten; give another file with --out-of-fold"
        )
    if out_of_fold is not None and config.folds == 0:
        raise InputError(
            "--out-of-fold needs --folds of at least 2: every row is scored by members that never "
            "saw its prompt"
        )


def _read(path: str | Path, config: FitConfig, out_of_fold: str | Path | None) -> data.Scan:
    """Check the file; raise InputError where a reward cannot be fitted to it."""
    found = data.scan_file(
        path,
        columns=config.columns,
        split=config.split,
        want="scored" if config.score else None,
        score=config.score,
        limit=config.limit,
        drop=config.drop,
        keep=True,
    )
    found.faults.stop()
    columns, numeric = found.layout.columns, found.layout.numeric
    if found.layout.kind not in ("pairs", "choices", "scored"):
        raise InputError(
            f"{path} holds {found.layout.kind} ({', '.join(columns)}), and a reward is fitted to "
            "pairs (prompt, chosen, rejected) or to scored responses (prompt, response and a "
            "number: --score COLUMN)"
        )
    taken = sorted(c for c in columns if c == "fold" or c.startswith("proxy"))
    if out_of_fold is not None and taken:
        raise InputError(
            f"{path} already has a column '{taken[0]}', which --out-of-fold writes; rename it"
        )
    if found.layout.kind == "scored" and config.score is None and len(numeric) > 1:
        raise InputError(
            f"{path} has several columns of numbers ({', '.join(numeric)}); say which is the score "
            "with --score COLUMN"
        )
    return found


def _folds(path: str | Path, pool: Pool, config: FitConfig, out_of_fold: str | Path | None) -> int:
    """Return how many folds this pool is divided into."""
    folds = config.folds
    if folds is None:
        folds = min(5, pool.groups) if pool.groups > 1 else 0
    if folds > pool.groups:
        raise InputError(
            f"{path} has {pool.groups} prompts that can be used, too few for --folds {folds}; give "
            f"at most {pool.groups}, or 0"
        )
    if out_of_fold is not None and not folds:
        raise InputError(
            f"--out-of-fold needs at least 2 prompts, and {path} has {pool.groups} that can be used"
        )
    return folds


def _fitter(pool: Pool, config: FitConfig) -> Fitter:
    if config.base == "words":
        return TextFitter(pool, config)
    from assay.rewards.fit_models import FrozenFitter, ModelFitter

    return FrozenFitter(pool, config) if config.frozen else ModelFitter(pool, config)


def _counts(pool: Pool, rows: Tensor, config: FitConfig, rng: Rng) -> Float[Tensor, "G M"]:
    """Return how often each prompt counts for each member; prompts without rows do not count."""
    here = torch.unique(pool.group[rows])
    counts = torch.zeros(pool.groups, config.members)
    drawn = rng("resample").generator()
    counts[here] = resampled(len(here), config.members, config.resample, drawn)
    return counts


def _out_of_fold(
    pool: Pool, held: Float[Tensor, "M R"], fold: Int[Tensor, "R"], config: FitConfig
) -> dict[int, dict[str, Any]]:
    """Return the new columns of each of the file's rows."""
    scores = columns_of(pool.prompts, held, lam=config.lam)
    stems = ["proxy"] if pool.pairs is None else ["proxy_chosen", "proxy_rejected"]
    rows: dict[int, dict[str, Any]] = {}
    for i, r in enumerate(pool.row.tolist()):
        own = rows.setdefault(r, {"fold": int(fold[i])})
        own |= {stems[i % len(stems)] + end: v[i] for end, v in scores.items()}
    return rows


def _told(found: data.Scan, pool: Pool, alone: int, config: FitConfig) -> dict[str, Any]:
    plain = found.plain()
    return {
        **{k: plain[k] for k in ("file", "kind", "format", "parts", "rows", "warnings", "faults")},
        "used": len(pool) if pool.pairs is None else len(pool.pairs),
        "prompts": pool.groups,
        "prompts_left_out": alone,
        "base": config.base,
        "frozen": config.frozen,
        "members": config.members,
    }
