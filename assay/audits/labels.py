"""Accuracy and calibration where there are labels: a column of gold, or preference pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from assay import data
from assay.audits.completions import Completions, Floats, there
from assay.audits.config import AuditConfig
from assay.audits.distance import DistanceBin, FittedOn, by_distance, texts_of
from assay.audits.scorers import Scorers
from assay.engine import progress
from assay.rewards.evaluate import apart, evaluated, scores_of
from assay.rewards.evaluation import Evaluation
from assay.rewards.fit_labels import labels, other_columns
from assay.rewards.pool import Pool, compared

SUBSET = "subset"  # the column that parts a file of pairs
A_PROMPT = 32  # completions of a prompt that are compared with each other, at most


@dataclass(frozen=True)
class Labelled:
    """One reward on labels.

    Attributes:
        reward: The reward.
        on: "gold" or "pairs".
        evaluation: Accuracy, calibration, by length and by margin.
        subsets: The same of each subset of the pairs, by its name.
        distance: Accuracy by distance from what the reward was fitted on; None where that is not
            known.
    """

    reward: str
    on: str
    evaluation: Evaluation
    subsets: Mapping[str, Evaluation]
    distance: tuple[DistanceBin, ...] | None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "reward": self.reward,
            **self.evaluation.plain(),
            "on": self.on,
            "on_what": self.evaluation.on,
            "subsets": {k: e.plain() for k, e in self.subsets.items()},
            "distance": None if self.distance is None else [asdict(b) for b in self.distance],
        }


def fitted_on(path: str | Path | data.Source, config: AuditConfig) -> FittedOn:
    """Read what a reward was fitted on.

    Args:
        path: A file of pairs or scored responses.
        config: Names of columns, and what to leave out.

    Raises:
        InputError: The file or a row cannot be used.
    """
    with progress.stage("reading what the reward was fitted on"):
        columns = there(path, config.columns, config.split)
        found = labels(path, columns=columns, split=config.split, drop=config.drop)
        return FittedOn(texts_of(Pool.of(found, config.templated)), found.source.name)


def on_gold(
    scorers: Scorers, x: Completions, scores: Floats, fitted: FittedOn | None, seed: int
) -> list[Labelled]:
    """Evaluate rewards by gold: completions of the same prompt are compared.

    Args:
        scorers: The rewards.
        x: The completions, with gold; at most 32 of a prompt, chosen by chance, are compared.
        scores: Their scores, `[C, R]`.
        fitted: What the reward was fitted on; None where that is not known.
        seed: Of the choice.

    Returns:
        One entry a reward; none where gold never differs within a prompt.
    """
    assert x.gold is not None
    at = x.probed(x.groups, A_PROMPT, seed)
    some = x.rows(at)
    _, group = np.unique(some.group, return_inverse=True)
    pool = Pool(
        some.prompts,
        some.responses,
        some.turns,
        torch.arange(len(some)),
        torch.from_numpy(group),
        int(group.max()) + 1,
        score=torch.from_numpy(some.gold),
        file=x.source,
    )
    found = list[Labelled]()
    for name in scorers.rewards:
        one = _one(name, "gold", pool, _members(scorers, name, scores)[:, at], scorers, fitted)
        found += [] if one is None else [one]
    return found


def on_pairs(
    scorers: Scorers, path: str | Path | data.Source, config: AuditConfig, fitted: FittedOn | None
) -> list[Labelled]:
    """Evaluate rewards on preference pairs, and on each subset that a column `subset` names.

    Args:
        scorers: The rewards.
        path: The file of pairs or scored responses.
        config: Names of columns, and what to leave out.
        fitted: What the reward was fitted on; None where that is not known.

    Raises:
        InputError: The file or a row cannot be used.
    """
    with progress.stage("reading the pairs"):
        columns = there(path, config.columns, config.split)
        read = labels(path, columns=columns, split=config.split, drop=config.drop)
    whole, _ = Pool.of(read, config.templated).comparable(
        read.source.name, read.layout.parts.get("score", "")
    )
    others = other_columns(read, whole.row.tolist())
    subset = dict(zip(whole.row.tolist(), others.get(SUBSET, [None] * len(whole)), strict=True))
    found = list[Labelled]()
    for name, reward in scorers.rewards.items():
        with progress.stage(f"scoring {len(whole):,} labeled completions by {name}"):
            pool, scores = apart(reward, whole, scores_of(reward, whole, others))
        one = _one(name, "pairs", pool, scores, scorers, fitted, subset)
        found += [] if one is None else [one]
    return found


def _members(scorers: Scorers, name: str, scores: Floats) -> Float[Tensor, "M R"]:
    """The scores of one reward's members."""
    of = [c for c, column in enumerate(scorers.columns) if column.of == name]
    return torch.from_numpy(scores[of[1:] or of])


def _one(
    name: str,
    on: str,
    pool: Pool,
    scores: Float[Tensor, "M R"],
    scorers: Scorers,
    fitted: FittedOn | None,
    subset: Mapping[int, Any] | None = None,
) -> Labelled | None:
    members = scorers.rewards[name].names
    whole = evaluated(pool, scores, members, pool.file)
    if whole is None:
        return None
    parts = dict[str, Evaluation]()
    values = [] if subset is None else [subset[r] for r in pool.row.tolist()]
    for value in sorted({str(v) for v in values if v is not None}):
        out = torch.tensor([str(v) != value for v in values])
        some = pool.without(out[pool.pairs[:, 0]]) if pool.pairs is not None else None
        if some is not None and pool.pairs is not None:
            kept = pool.kept(out[pool.pairs[:, 0]])
            part = evaluated(some, scores[:, kept], members, f"{pool.file}, {value}")
            parts |= {} if part is None else {value: part}
    return Labelled(name, on, whole, parts, _distances(pool, scores, fitted))


def _distances(
    pool: Pool, scores: Float[Tensor, "M R"], fitted: FittedOn | None
) -> tuple[DistanceBin, ...] | None:
    """Accuracy by the mean distance of the two texts that are compared."""
    if fitted is None:
        return None
    at, _, weight, _ = compared(pool)
    each = scores.double().mean(0).numpy()
    margin = each[at[:, 0]] - each[at[:, 1]]
    away = fitted.distance(texts_of(pool))[at].mean(1)
    known = np.isfinite(margin)
    group = pool.group.numpy()[at[:, 0]]
    return by_distance(margin[known], away[known], group[known], weight[known])
