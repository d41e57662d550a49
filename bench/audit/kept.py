"""Runs and what the rules read of them: from kept files, or from the results of earlier ones.

A run of the table whose file is not there is taken from `bench/results/audit.json`: its turning
point is the one written there, and the reference's completions are scored again, which takes a
tenth of a second. What the rules read of them must be what is written.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from assay.errors import InputError
from bench.audit import judged, measured, worlds
from bench.audit.judged import Run

RESULTS = Path(__file__).resolve().parent.parent / "results" / "audit.json"
DIGITS = 6
SAME = 1e-3  # sums in another order, as with more threads, move what is read by less


class Seen(NamedTuple):
    """What lies of a run: scores `[M, B, N]`, gold `[B, N]` and where it turned."""

    scores: torch.Tensor
    gold: torch.Tensor
    turn: measured.Turn


def runs_of(seeds: range, completions: int = 0) -> list[Run]:
    """The known runs of these seeds; with `completions`, the rules read only so many a prompt."""
    found = (run_of(k, s, completions) for k in worlds.KINDS for s in seeds)
    return [r for r in found if r is not None]


def run_of(kind: str, seed: int, completions: int = 0) -> Run | None:
    """A run, None where it was not made."""
    if not completions and not worlds.place(kind, seed).exists():
        row = _earlier().get((kind, seed))
        return None if row is None else from_row(row)
    x = seen(kind, seed)
    if x is None:
        return None
    n = completions or x.scores.shape[-1]
    return Run(kind, seed, x.turn, judged.reads(x.scores[..., :n], x.gold[..., :n]))


@functools.cache
def seen(kind: str, seed: int) -> Seen | None:
    """Scores, gold and the turn of a run, None where it was not made or its scores are gone.

    Raises:
        InputError: The table's world of now is not that of the earlier results.
    """
    path = worlds.place(kind, seed)
    if path.exists():
        with np.load(path) as f:
            scores, gold = torch.from_numpy(f["scores"]), torch.from_numpy(f["gold"])
            return Seen(scores, gold, measured.turn(f["d"].astype(float), f["curve"].astype(float)))
    row = _earlier().get((kind, seed))
    if row is None or kind == "grammar":
        return None
    scores, gold = worlds.before(worlds.world(kind, seed), seed)
    was, now = from_row(row), judged.reads(scores, gold)
    far = max(now, key=lambda k: abs(now[k] - was.reads[k]))
    if not abs(now[far] - was.reads[far]) < SAME:
        raise InputError(
            f"{far} of {kind} {seed} is {now[far]:.4f}, and {RESULTS.name} has "
            f"{was.reads[far]:.4f}: the world has changed since; run python -m bench.audit collect"
        )
    return Seen(scores, gold, was.turn)


@functools.cache
def _earlier() -> dict[tuple[str, int], dict[str, Any]]:
    """Rows of the results that are there."""
    if not RESULTS.exists():
        return {}
    parts = json.loads(RESULTS.read_text("utf-8"))["runs"]
    return {(x["kind"], x["seed"]): x for name in ("develop", "report") for x in parts[name]}


def row(r: Run) -> dict[str, Any]:
    """A run as values of JSON."""
    reads = {k: round(v, DIGITS) for k, v in r.reads.items()}
    return {"kind": r.kind, "seed": r.seed, "d": r.turn.d, "turned": r.turn.turned, **reads}


def from_row(x: dict[str, Any]) -> Run:
    """The run that `row` wrote."""
    reads = {k: v for k, v in x.items() if k not in ("kind", "seed", "d", "turned")}
    return Run(x["kind"], x["seed"], measured.Turn(x["d"], x["turned"]), reads)
