"""`assay score`: a file's rows with every judge's score, their aggregates and their spread, written
beside what was there.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay import data
from assay.data.turns import Turns
from assay.errors import InputError, NotFinite
from assay.formulas import aggregate
from assay.rewards.linear_text import KIND
from assay.rewards.load import load_reward


def score_texts(
    reward: Any, prompts: Sequence[str], responses: Sequence[str], turns: Sequence[Turns | None]
) -> Float[Tensor, "M R"]:
    """Every member's score, all of them finite. Raises NotFinite where one is not."""
    scores = (
        reward.scores(prompts, responses)
        if reward.kind == KIND
        else reward.scores(prompts, responses, turns)
    )
    bad = ~torch.isfinite(scores)
    if bool(bad.any()):
        m, i = (int(x) for x in bad.nonzero()[0])
        raise NotFinite(
            f"judge '{reward.names[m]}' gave {float(scores[m, i])} to row {i + 1} of "
            f"{scores.shape[1]} ({int(bad.sum())} scores are not finite): the fitted weights are "
            "damaged; fit the reward again"
        )
    return scores


def judged(
    prompts: Sequence[str], scores: Float[Tensor, "M R"], *, lam: float
) -> dict[str, list[Any]]:
    """Columns of a scored file. Worst case and uncertainty compare members after each one's mean
    over the prompt's answers is taken off, for that constant is free in a fitted judge; the
    ensemble's own mean is put back.
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
    return {**out, "_judges": scores.T.tolist()}


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
) -> dict[str, Any]:
    """Write `out`: the rows of `path`, each with NAME (the members' mean), NAME_worst,
    NAME_uncertainty (mean − lam·variance), NAME_spread and NAME_judges. Of a file of pairs each of
    these is written twice: NAME_chosen… and NAME_rejected….

    Never overwrites. A row's scores depend on that row alone, but worst and uncertainty are of the
    row among its prompt's.
    """
    if Path(out).exists():
        raise InputError(f"{out} exists and is never overwritten; give another file with -o")
    if lam < 0 or not math.isfinite(lam):
        raise InputError(f"--lam is {lam}; the weight of the variance is at least 0")
    reward = load_reward(rewards)
    found = data.check(
        path, columns=columns, split=split, drop=drop, keep=True, want=_wanted(path, columns, split)
    )
    found.faults.stop()
    both = found.layout.kind in ("pairs", "choices")
    items = found.items
    prompts = [x.prompt for x in items]
    texts = (
        [[x.chosen for x in items], [x.rejected for x in items]]
        if both
        else [[x.response for x in items]]
    )
    k = len(texts)
    flat = score_texts(
        reward, prompts * k, [t for part in texts for t in part], [x.turns for x in items] * k
    )
    made = judged(prompts * k, flat, lam=lam)
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
    rows = write_rows(found.source, out, extra)
    mean = torch.tensor(made[""])
    return {
        "rewards": str(rewards),
        "members": list(reward.names),
        "file": str(path),
        "out": str(out),
        "rows": rows,
        "name": name,
        "columns": [s + end for s in stems for end in made],
        "mean": float(mean.mean()),
        "std": float(mean.std(correction=0)),
        "spread": float(torch.tensor(made["_spread"]).mean()),
        "warnings": found.plain()["warnings"],
        "accuracy": float((mean[: len(items)] > mean[len(items) :]).double().mean())
        if both
        else None,
    }


def _wanted(path: str | Path, columns: Mapping[str, str] | None, split: str | None) -> str | None:
    """Pairs are scored as pairs; anything else has to have responses, scored already or not."""
    source = data.open_source(path, split=split)
    first = [
        row
        for _, row in zip(
            range(20), (r for _, r in source.rows(data.Faults(source.name))), strict=False
        )
    ]
    seen = {k for row in first for k in row} | set(columns or {})
    return "pairs" if {"chosen", "rejected"} <= seen else "responses"


def write_rows(source: data.Source, out: str | Path, extra: Mapping[int, Mapping[str, Any]]) -> int:
    """Write the file's rows that have something to add, in order, as strict JSON lines (gzipped if
    named .gz); under another name first, so that a killed process leaves no half a file. Returns
    how many.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f"{out.name}.{os.getpid()}.new")
    n = 0
    try:
        with _writer(fresh, out.suffix == ".gz") as f:
            for i, row in source.rows(data.Faults(source.name, source.line)):
                if i in extra:
                    f.write(
                        json.dumps(
                            _strict({**row, **extra[i]}), ensure_ascii=True, allow_nan=False
                        ).encode()
                        + b"\n"
                    )
                    n += 1
        try:
            os.link(fresh, out)  # unlike a rename, fails where something stands
        except FileExistsError as why:
            raise InputError(f"{out} exists and is never overwritten; give another file") from why
    finally:
        fresh.unlink(missing_ok=True)
    return n


def _writer(path: Path, packed: bool) -> io.BufferedIOBase:
    return gzip.GzipFile(path, "wb", mtime=0) if packed else open(path, "wb")


def _strict(value: Any) -> Any:
    """A row as strict JSON: what is not finite is null, what JSON has no form for is its text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
