"""`assay fit`: a reward ensemble from a file of pairs or scored responses, its held-out accuracy by
prompt, its folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from assay import data
from assay.core.rng import Rng
from assay.errors import InputError
from assay.records import runs
from assay.rewards.features import features
from assay.rewards.linear_solvers import resampled
from assay.rewards.linear_text import Settings, WordsReward, fit_pairs, fit_scored
from assay.rewards.pool import Pool, accuracy, comparisons
from assay.rewards.score_file import judged, write_rows

RESAMPLE = ("leave-out", "bootstrap", "none")
RIDGE = {"words": 1.0, "frozen": 1.0}


@runtime_checkable
class Base(Protocol):
    """A way to fit judges on some of a pool's prompts and to score rows of the pool; `notes` are
    for the user.
    """

    notes: list[str]

    def fit(self, rows: Int[Tensor, "r"], counts: Float[Tensor, "G M"], rng: Rng) -> Any: ...
    def scores(self, fitted: Any, rows: Int[Tensor, "r"]) -> Float[Tensor, "M r"]: ...


class Words:
    """Linear judges on counted words, layout and style; texts are counted once."""

    def __init__(
        self,
        pool: Pool,
        *,
        ridge: float,
        smoothing: float,
        centre: float,
        settings: Settings | None = None,
    ):
        self.pool, self.ridge, self.smoothing, self.centre = pool, ridge, smoothing, centre
        self.settings = settings or Settings()
        self.notes: list[str] = []
        self.counted = features(pool.prompts, pool.responses)

    def fit(self, rows: Int[Tensor, "r"], counts: Float[Tensor, "G M"], rng: Rng) -> WordsReward:
        """Judges of these rows, each prompt counting counts[g, m] times for member m."""
        some = self.counted.rows(rows.numpy())
        if self.pool.score is not None:
            return fit_scored(
                some,
                self.pool.score[rows].float(),
                self.pool.group[rows],
                counts=counts,
                ridge=self.ridge,
                settings=self.settings,
            )
        pairs, p, margin, group = comparisons(self.pool, rows)
        return fit_pairs(
            some,
            pairs,
            p,
            margin,
            counts=counts[group],
            ridge=self.ridge,
            smoothing=self.smoothing,
            centre=self.centre,
            settings=self.settings,
        )

    def scores(self, fitted: WordsReward, rows: Int[Tensor, "r"]) -> Float[Tensor, "M r"]:
        """Scores of rows of the pool."""
        return fitted.counted(self.counted.rows(rows.numpy()))


def fit(
    path: str | Path,
    *,
    out: str | Path,
    base: str = "words",
    members: int = 5,
    score: str | None = None,
    folds: int | None = None,
    out_of_fold: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    frozen: bool = False,
    pooling: str = "mean",
    resample: str = "leave-out",
    ridge: float | None = None,
    smoothing: float = 0.0,
    centre: float = 0.01,
    epochs: float = 1.0,
    batch: int = 16,
    lr: float = 2e-5,
    lora: int = 0,
    max_length: int = 1024,
    pairs_a_prompt: int = 16,
    limit: int | None = None,
    drop: bool = False,
    lam: float = 0.5,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit `members` judges to a file and write them to the folder `out`, which must not exist.

    base: "words" (no model), or a transformers model by path or name; frozen: a linear head on its
    frozen features (pooling: mean, cls, last); score: the column of scored responses, compared
    within prompts only; folds: parts of the cross-validation by prompt (5, or as many as there are
    prompts; 0: none); out_of_fold: a file of every row scored by judges that never saw its prompt.
    resample: how members differ (leave-out: each misses its own M-th of the prompts; bootstrap;
    none). ridge: of the convex fits; smoothing, centre: of Bradley–Terry; epochs, batch, lr,
    max_length: of whole models; lora: the rank of adapters that are trained instead of all weights,
    and merged; pairs_a_prompt: drawn from scored responses for whole models. limit: longest row in
    characters; drop: leave faulty rows out, counted; lam: the weight of the variance in the
    out-of-fold file's uncertainty.
    """
    out = Path(out)
    _arguments(
        out,
        out_of_fold,
        members=members,
        folds=folds,
        resample=resample,
        ridge=ridge,
        smoothing=smoothing,
        centre=centre,
    )
    found = data.check(
        path,
        columns=columns,
        split=split,
        want="scored" if score else None,
        score=score,
        limit=limit,
        drop=drop,
        keep=True,
    )
    found.faults.stop()
    if found.layout.kind not in ("pairs", "choices", "scored"):
        raise InputError(
            f"{path} holds {found.layout.kind} ({', '.join(found.layout.columns)}), and a reward "
            "is fitted to pairs (prompt, chosen, rejected) or to scored responses (prompt, "
            "response and a number: --score COLUMN)"
        )
    taken = sorted(c for c in found.layout.columns if c == "fold" or c.startswith("proxy"))
    if out_of_fold is not None and taken:
        raise InputError(
            f"{path} already has a column '{taken[0]}', which --out-of-fold writes; rename it"
        )
    if found.layout.kind == "scored" and score is None and len(found.layout.numeric) > 1:
        raise InputError(
            f"{path} has several columns of numbers ({', '.join(found.layout.numeric)}); say "
            "which is the score with --score COLUMN"
        )
    whole, alone = Pool.of(found).comparable(str(path), found.layout.parts.get("score", ""))
    folds = (min(5, whole.groups) if whole.groups > 1 else 0) if folds is None else folds
    if folds > whole.groups:
        raise InputError(
            f"{path} has {whole.groups} prompts that can be used, too few for --folds {folds}; "
            f"give at most {whole.groups}, or 0"
        )
    if out_of_fold is not None and not folds:
        raise InputError(
            f"--out-of-fold needs at least 2 prompts, and {path} has {whole.groups} that can be "
            "used"
        )
    rng = Rng(seed)
    maker = _base(
        base,
        whole,
        frozen=frozen,
        pooling=pooling,
        ridge=ridge,
        smoothing=smoothing,
        centre=centre,
        epochs=epochs,
        batch=batch,
        lr=lr,
        lora=lora,
        max_length=max_length,
        pairs_a_prompt=pairs_a_prompt,
        out=out,
    )
    held, fold = torch.full((members, len(whole)), math.nan), None
    if folds:
        fold = whole.folds(folds, rng)
        for k in tqdm(
            range(folds), desc="cross-validating by prompt", disable=None, delay=2, leave=False
        ):
            train, test = (fold != k).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
            fitted = maker.fit(
                train, _counts(whole, train, members, resample, rng("fold", k)), rng("fold", k)
            )
            held[:, test] = maker.scores(fitted, test).float()
    every = torch.arange(len(whole))
    final = maker.fit(every, _counts(whole, every, members, resample, rng("all")), rng("all"))
    result = {
        **_told(found, whole, alone, base, frozen, members),
        "accuracy": None,
        "members_accuracy": None,
        "folds": folds,
        "notes": maker.notes,
        "arguments": {
            "base": base,
            "frozen": frozen,
            "pooling": pooling,
            "resample": resample,
            "ridge": ridge,
            "smoothing": smoothing,
            "centre": centre,
            "epochs": epochs,
            "batch": batch,
            "lr": lr,
            "lora": lora,
            "max_length": max_length,
            "pairs_a_prompt": pairs_a_prompt,
            "limit": limit,
            "drop": drop,
            "seed": seed,
            "score": found.layout.parts.get("score"),
            "columns": dict(columns or {}),
            "split": split,
        },
    }
    if folds:
        result["accuracy"] = accuracy(whole, held.mean(0), rng)
        result["members_accuracy"] = [accuracy(whole, h, rng)["mean"] for h in held]
    out.mkdir(parents=True, exist_ok=True)
    final.save(out)
    about = {
        **result,
        **runs.provenance(),
        "inputs": {str(path): runs.digest(path) if Path(path).exists() else None},
    }
    (out / "fit.json").write_text(
        json.dumps(runs.plain(about), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    if out_of_fold is not None:
        assert fold is not None
        scores = judged(whole.prompts, held, lam=lam)
        stems = ["proxy"] if whole.pairs is None else ["proxy_chosen", "proxy_rejected"]
        extra: dict[int, dict[str, Any]] = {
            int(r): {"fold": int(fold[i])} for i, r in enumerate(whole.row)
        }
        for i, r in enumerate(whole.row.tolist()):
            extra[r] |= {stems[i % len(stems)] + end: v[i] for end, v in scores.items()}
        result["out_of_fold"] = {
            "file": str(out_of_fold),
            "rows": write_rows(found.source, out_of_fold, extra),
        }
    return {**result, "folder": str(out)}


def _counts(pool: Pool, rows: Tensor, members: int, how: str, rng: Rng) -> Float[Tensor, "G M"]:
    """How often each prompt counts for each member; prompts without rows here do not count."""
    here = torch.unique(pool.group[rows])
    counts = torch.zeros(pool.groups, members)
    counts[here] = resampled(len(here), members, how, rng("resample").generator())
    return counts


def _told(
    found: data.Checked, pool: Pool, alone: int, base: str, frozen: bool, members: int
) -> dict[str, Any]:
    plain = found.plain()
    return {
        "file": plain["file"],
        "kind": plain["kind"],
        "format": plain["format"],
        "parts": plain["parts"],
        "rows": plain["rows"],
        "used": len(pool) if pool.pairs is None else len(pool.pairs),
        "prompts": pool.groups,
        "prompts_left_out": alone,
        "warnings": plain["warnings"],
        "faults": plain["faults"],
        "base": base,
        "frozen": frozen,
        "members": members,
    }


def _arguments(
    out: Path,
    out_of_fold: str | Path | None,
    *,
    members: int,
    folds: int | None,
    resample: str,
    ridge: float | None,
    smoothing: float,
    centre: float,
) -> None:
    """What can be wrong before anything is read."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} exists and is not an empty folder, and a fitted reward is never overwritten; "
            "give another folder with -o"
        )
    if out_of_fold is not None and Path(out_of_fold).exists():
        raise InputError(
            f"{out_of_fold} exists and is never overwritten; give another file with --out-of-fold"
        )
    if out_of_fold is not None and folds == 0:
        raise InputError(
            "--out-of-fold needs --folds of at least 2: every row is scored by judges that never "
            "saw its prompt"
        )
    if members < 1:
        raise InputError(f"--members is {members}; an ensemble has at least 1")
    if folds is not None and (folds < 0 or folds == 1):
        raise InputError(f"--folds is {folds}; give at least 2, or 0 for none")
    if resample not in RESAMPLE:
        raise InputError(f"--resample is '{resample}'; it is one of {', '.join(RESAMPLE)}")
    if ridge is not None and not (math.isfinite(ridge) and ridge > 0):
        raise InputError(f"--ridge is {ridge}; it must be above 0")
    if not 0 <= smoothing <= 0.5:
        raise InputError(
            f"--smoothing is {smoothing}; it is the share of labels taken as wrong, in [0, 0.5]"
        )
    if not (math.isfinite(centre) and centre >= 0):
        raise InputError(
            f"--centre is {centre}; it is the weight of (chosen + rejected)², at least 0"
        )


def _base(
    base: str,
    pool: Pool,
    *,
    frozen: bool,
    pooling: str,
    ridge: float | None,
    smoothing: float,
    centre: float,
    epochs: float,
    batch: int,
    lr: float,
    lora: int,
    max_length: int,
    pairs_a_prompt: int,
    out: Path,
) -> Base:
    if base == "words":
        if frozen:
            raise InputError("--frozen is for models; --base words has nothing to freeze")
        if lora:
            raise InputError("--lora is for models; --base words has no layers to adapt")
        return Words(
            pool,
            ridge=RIDGE["words"] if ridge is None else ridge,
            smoothing=smoothing,
            centre=centre,
        )
    from assay.rewards.fit_models import Frozen, Whole

    if frozen and lora:
        raise InputError(
            "--frozen trains nothing of the base and --lora adapts it: give one of the two"
        )
    if frozen:
        return Frozen(
            pool,
            base,
            pooling=pooling,
            max_length=max_length,
            ridge=RIDGE["frozen"] if ridge is None else ridge,
            smoothing=smoothing,
            centre=centre,
        )
    return Whole(
        pool,
        base,
        max_length=max_length,
        epochs=epochs,
        batch=batch,
        lr=lr,
        smoothing=smoothing,
        centre=centre,
        pairs_a_prompt=pairs_a_prompt,
        lora=lora,
    )
