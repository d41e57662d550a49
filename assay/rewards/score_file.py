"""`assay score`: a file's rows with each member's score, their aggregates and their spread."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from assay import data
from assay.data.model_trust import trusting
from assay.data.writing import new_file
from assay.engine import progress
from assay.engine.atomic import is_free
from assay.engine.plural import counted
from assay.engine.reserved import reserving
from assay.errors import InputError
from assay.formulas import aggregate
from assay.rewards.evaluate import scores_of
from assay.rewards.fit_labels import other_columns
from assay.rewards.http import TIMEOUT
from assay.rewards.load import open_reward
from assay.rewards.pool import Pool
from assay.stats.margins import agreement


def columns_of(
    prompts: Sequence[str], scores: Float[Tensor, "M R"], *, lam: float
) -> dict[str, list[Any]]:
    """Aggregate members' scores into the columns of a scored file.

    Worst case and uncertainty compare members after each one's mean over the prompt's responses is
    taken off, because that constant is free in a fitted reward; the ensemble's mean is put back.

    Args:
        prompts: The prompt of each response.
        scores: The members' scores.
        lam: The weight of the variance in `_uncertainty`.

    Returns:
        The ends of the columns' names and their R values: "" (the mean), _worst, _spread,
        _uncertainty, _members (every member's score).
    """
    group, names = data.within(list(prompts))
    at = torch.tensor(group, dtype=torch.int64)
    count = torch.bincount(at, minlength=len(names))
    order = torch.argsort(at, stable=True)
    place = torch.empty_like(at)
    place[order] = torch.arange(len(at)) - torch.repeat_interleave(count.cumsum(0) - count, count)
    N = int(count.max()) if len(at) else 0
    present = torch.arange(N) < count[:, None]
    wide = scores.new_zeros(len(scores), len(names), N).double()
    wide[:, at, place] = scores.double()
    level = torch.where(present, aggregate.mean(wide), 0.0).sum(1) / count.clamp(min=1)
    centred = aggregate.centred(wide, present) + level[:, None]
    columns = {
        "": aggregate.mean(wide),
        "_worst": aggregate.worst(centred),
        "_spread": aggregate.spread(centred),
        "_uncertainty": aggregate.uncertainty_weighted(centred, lam=lam),
    }
    out: dict[str, list[Any]] = {k: v[at, place].tolist() for k, v in columns.items()}
    return {**out, "_members": scores.T.tolist()}


def score(
    rewards: str | Path,
    path: str | Path,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    name: str = "proxy",
    lam: float = 0.5,
    drop: bool = False,
    templated: tuple[str, ...] = (),
    reward_timeout: float = TIMEOUT,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Score every row of a file with a reward, and write the rows with new columns.

    The columns are NAME (the members' mean), NAME_worst, NAME_uncertainty (mean − lam·variance),
    NAME_spread and NAME_members; of a file of pairs each is written twice, NAME_chosen… and
    NAME_rejected…. A row's scores depend on that row alone; worst and uncertainty compare it with
    the other rows of its prompt.

    Args:
        rewards: A folder of assay fit, a sequence classifier (folder or hub name), FILE.py:name or
            a URL.
        path: The file to score.
        out: The file to write; it is never overwritten.
        columns: Names of columns, {"prompt": "question"}.
        split: The split of a dataset that has several.
        name: The name of the new columns.
        lam: The weight of the variance in the uncertainty column.
        drop: Leave faulty rows out and count them.
        templated: Parts of the rows that a chat template wrote already, such as prompt.
        reward_timeout: Seconds that one call of a reward server may take. A call that fails is
            repeated for 300 seconds at most, or for two timeouts where those are longer.
        trust_remote_code: Run Python code that comes with the reward's model (auto_map) and kernels
            that its settings name.

    Returns:
        What was scored, as JSON can hold it.

    Raises:
        InputError: The reward, the file or a row cannot be used, `out` exists, or another process
            writes it.
    """
    with reserving(Path(out)), trusting(trust_remote_code):
        return _score(
            rewards,
            path,
            Path(out),
            columns=columns,
            split=split,
            name=name,
            lam=lam,
            drop=drop,
            templated=templated,
            reward_timeout=reward_timeout,
        )


def _score(
    rewards: str | Path,
    path: str | Path,
    out: Path,
    *,
    columns: Mapping[str, str] | None,
    split: str | None,
    name: str,
    lam: float,
    drop: bool,
    templated: tuple[str, ...],
    reward_timeout: float,
) -> dict[str, Any]:
    """See `score`; no other process writes `out` meanwhile."""
    if not is_free(out):
        raise InputError(f"{out} exists and is never overwritten; give another file with -o")
    if lam < 0 or not math.isfinite(lam):
        raise InputError(f"--lam is {lam}; it is the weight of the variance: give at least 0")
    reward = open_reward(str(rewards), "rewards", timeout=reward_timeout)
    with progress.stage(f"reading {path}"):
        want = wanted(path, columns, split)
        found = data.scan_file(path, columns=columns, split=split, drop=drop, keep=True, want=want)
    found.faults.stop()
    both = found.layout.kind in ("pairs", "choices")
    items = found.items
    pool = _in_parts(Pool.of(found, templated))
    columns_too = other_columns(found, pool.row.tolist())
    with progress.stage(
        f"scoring {len(pool):,} completions by {counted(len(reward.names), 'member')}"
    ):
        flat = scores_of(reward, pool, columns_too)
    made = columns_of(pool.prompts, flat, lam=lam)
    stems = [f"{name}_chosen", f"{name}_rejected"] if both else [name]
    taken = {s + end for s in stems for end in made} & set(found.layout.columns)
    if taken:
        raise InputError(
            f"{path} already has a column '{min(taken)}'; name the new ones with --name OTHER"
        )
    extra = {
        x.row: {
            stem + end: made[end][j * len(items) + i]
            for j, stem in enumerate(stems)
            for end in made
        }
        for i, x in enumerate(items)
    }
    with progress.stage(f"writing {out}"):
        rows = write_rows(found.source, out, extra)
    mean = np.array(made[""], dtype=float)
    known = mean[np.isfinite(mean)]  # a function may return None
    margin = mean[: len(items)] - mean[len(items) :] if both else np.zeros(0)
    margin = margin[np.isfinite(margin)]
    return {
        "rewards": str(rewards),
        "members": list(reward.names),
        "file": str(path),
        "out": str(out),
        "rows": rows,
        "name": name,
        "columns": [s + end for s in stems for end in made],
        "mean": float(known.mean()) if len(known) else None,
        "std": float(known.std()) if len(known) else None,
        "spread": _mean(made["_spread"]),
        "unscored": len(mean) - len(known),
        "warnings": found.plain()["warnings"],
        "accuracy": _mean(agreement(margin).tolist()),
    }


def _in_parts(pool: Pool) -> Pool:
    """The texts of pairs with all chosen ones first, and all rejected ones after them."""
    if pool.pairs is None:
        return pool
    order = [*range(0, len(pool), 2), *range(1, len(pool), 2)]
    replies = pool.replies
    return replace(
        pool,
        prompts=[pool.prompts[i] for i in order],
        responses=[pool.responses[i] for i in order],
        turns=[pool.turns[i] for i in order],
        row=pool.row[order],
        group=pool.group[order],
        replies=None if replies is None else [replies[i] for i in order],
        pairs=torch.arange(len(pool)).view(2, -1).T,
    )


def _mean(values: Sequence[float]) -> float | None:
    known = [v for v in values if math.isfinite(v)]
    return sum(known) / len(known) if known else None


def wanted(path: str | Path, columns: Mapping[str, str] | None, split: str | None) -> str | None:
    """Return the kind to read a file as: pairs as pairs, anything else as responses.

    Args:
        path: The file.
        columns: Names of columns.
        split: The split of a dataset that has several.
    """
    source = data.open_source(path, split=split)
    first = itertools.islice(source.rows(data.Faults(source.name)), 20)
    seen = {k for _, row in first for k in row} | set(columns or {})
    return "pairs" if {"chosen", "rejected"} <= seen else "responses"


def write_rows(
    source: data.Source,
    out: str | Path,
    extra: Mapping[int, Mapping[str, Any]],
    *,
    before: Callable[[Path], None] | None = None,
) -> int:
    """Write the file's rows that have new columns, in order, as strict JSON lines.

    Args:
        source: The file.
        out: The file to write, gzipped if its name ends in .gz. It appears whole or not at all, and
            is never overwritten.
        extra: The new columns, by row.
        before: Called with the whole file before it takes its name.

    Returns:
        How many rows were written.

    Raises:
        InputError: `out` exists.
    """
    with new_file(out, before=before) as lines:
        for i, row in source.rows(data.Faults(source.name, source.line)):
            if i in extra:
                lines.write({**row, **extra[i]})
    return lines.written
