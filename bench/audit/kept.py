"""Runs and what the rules read of them: from kept files, or from the results of earlier ones.

A run whose file is not there is the row that `bench/results/audit.json` has of it: where it turned
and what the rules read. What is made of the scores themselves (fewer completions, the resampled
prompts of `predict`) is then that of the earlier results too, see report.py.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.audit import judged, measured, worlds
from bench.audit.judged import Run

RESULTS = Path(__file__).resolve().parent.parent / "results" / "audit.json"
DIGITS = 6


class Seen(NamedTuple):
    """What lies of a run: scores `[M, B, N]`, gold `[B, N]` and where it turned."""

    scores: torch.Tensor
    gold: torch.Tensor
    turn: measured.Turn


def runs_of(seeds: range, completions: int = 0) -> list[Run]:
    """The known runs of these seeds; with `completions`, the rules read only so many a prompt, of
    the runs whose files are there.
    """
    found = (run_of(k, s, completions) for k in worlds.KINDS for s in seeds)
    return [r for r in found if r is not None]


def run_of(kind: str, seed: int, completions: int = 0) -> Run | None:
    """A run, None where it was not made."""
    x = seen(kind, seed)
    if x is None:
        row = None if completions else _earlier().get((kind, seed))
        return None if row is None else from_row(row)
    n = completions or x.scores.shape[-1]
    return Run(kind, seed, x.turn, judged.reads(x.scores[..., :n], x.gold[..., :n]))


def seen(kind: str, seed: int) -> Seen | None:
    """Scores, gold and the turn of a run, None where its file is not there."""
    path = worlds.place(kind, seed)
    if not path.exists():
        return None
    with np.load(path) as f:
        scores, gold = torch.from_numpy(f["scores"]), torch.from_numpy(f["gold"])
        return Seen(scores, gold, measured.turn(f["d"].astype(float), f["curve"].astype(float)))


@functools.cache
def results() -> dict[str, Any]:
    """The results that are there."""
    return json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}


@functools.cache
def _earlier() -> dict[tuple[str, int], dict[str, Any]]:
    """Rows of the results that are there."""
    parts = results().get("runs", {})
    return {(x["kind"], x["seed"]): x for rows in parts.values() for x in rows}


def row(r: Run) -> dict[str, Any]:
    """A run as values of JSON."""
    reads = {k: round(v, DIGITS) for k, v in r.reads.items()}
    return {"kind": r.kind, "seed": r.seed, "d": r.turn.d, "turned": r.turn.turned, **reads}


def from_row(x: dict[str, Any]) -> Run:
    """The run that `row` wrote."""
    reads = {k: v for k, v in x.items() if k not in ("kind", "seed", "d", "turned")}
    return Run(x["kind"], x["seed"], measured.Turn(x["d"], x["turned"]), reads)
